"""New folders with files made from templates."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template

from learnae.errors import ConfigError, Problem


def fill(folder: Path, files: Mapping[str, str], values: Mapping[str, str]) -> None:
    """Write each file, named relative to `folder`, from its template, named relative to `templates/`, with `$name` replaced by values.

    Raises ConfigError for a folder that has something in it, or that cannot be written to.
    """
    texts = {name: _rendered(template, values) for name, template in files.items()}
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(Problem(str(folder), "is there already, and not empty", "take another name, or move it away"))
        for name, text in texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    except OSError as error:
        raise ConfigError(Problem(str(folder), f"cannot be written: {error.strerror}", "go where this user may write")) from error


def _rendered(template: str, values: Mapping[str, str]) -> str:
    source = resources.files("learnae.scaffold") / "templates" / f"{template}.tmpl"
    return Template(source.read_text()).substitute(values)
