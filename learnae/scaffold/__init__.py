"""What `learnae init` and `learnae new-plugin` write, and how. The texts lie in `templates/`, one file for each that is written."""

from __future__ import annotations

import errno
import importlib.util
import keyword
import os
import re
import stat
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib import resources
from pathlib import Path, PurePath
from string import Template

import attrs

from learnae import opening
from learnae.config.folders import folder_name
from learnae.errors import ConfigError, Problem
from learnae.identity.home_folder import check_own_folder
from learnae.plugins.hooks import bounds_around, own_version
from learnae.shared_folder import make_plainly

_CLOSED = 0o755  # to the writing of others


def fill(folder: Path, files: Mapping[str, str], values: Mapping[str, str]) -> None:
    """Write each file, named relative to `folder`, from its template, named relative to `templates/`, with `$name` replaced by values.

    Raises ConfigError for a folder that has something in it, that cannot be written to, or that others may change: what is written is
    a program, and may lie beside a key.
    """
    texts = {name: _rendered(template, values) for name, template in files.items()}
    try:
        with _made(folder) as descriptor:
            check_own_folder(folder, descriptor)
            if os.listdir(descriptor):
                raise FileExistsError
            for name, text in texts.items():
                _write(descriptor, PurePath(name).parts, text.encode())
    except OSError as error:
        if isinstance(error, FileExistsError) and error.filename in (None, str(folder.absolute())):
            raise ConfigError(Problem(str(folder), "is there already, and not empty", "take another name, or move it away")) from error
        cause = f"{error.filename} {error.strerror}" if isinstance(error, opening.UnfitError) else error.strerror
        raise ConfigError(Problem(str(folder), f"cannot be written: {cause}", "go where this user may write")) from error


@contextmanager
def _made(folder: Path) -> Iterator[int]:
    """No link lies in its place, and none of another user above it: what is written would lie elsewhere. Raises OSError."""
    found = opening.look(folder)
    if found is not None and stat.S_ISLNK(found.st_mode):
        raise opening.UnfitError(errno.ELOOP, "is a symbolic link, which is not followed here", str(folder))
    descriptor = opening.reach(folder, make=partial(make_plainly, mode=_CLOSED), parents=True)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(folder: int, way: Sequence[str], content: bytes) -> None:
    """A file, and the folders that lead to it; others may write to none of them, whatever the umask."""
    name, *rest = way
    if not rest:
        with opening.draft_in(folder, name, 0o644) as file:
            file.write(content)
        return
    with suppress(FileExistsError):
        os.mkdir(name, _CLOSED, dir_fd=folder)
    with opening.folder(name, at=folder) as inner:
        _write(inner, rest, content)


def _rendered(template: str, values: Mapping[str, str]) -> str:
    source = resources.files("learnae.scaffold") / "templates" / f"{template}.tmpl"
    return Template(source.read_text()).substitute(values)


PREFIX = "learnae-"
LONGEST = 64


def swarm_name(folder: Path) -> str:
    """The swarm of a new project: called like its folder. Raises ConfigError for a name that would need quoting."""
    name = folder.absolute().name
    if not re.fullmatch(r"\w[\w .-]*", name) or len(name) > LONGEST:
        remedy = f"take one of at most {LONGEST} letters, digits, spaces, dots, hyphens and underscores"
        raise ConfigError(Problem("NAME", f"{name!r} cannot be the name of a swarm", remedy))
    return name


@attrs.frozen
class PluginNames:
    """One plugin: `learnae-my-rule`, in `use = "my-rule"`, `import learnae_my_rule`, `class MyRule`."""

    distribution: str
    strategy: str
    module: str
    cls: str


def plugin_names(distribution: str, taken: Collection[str]) -> PluginNames:
    """Raises ConfigError for what no package can be called, or a module or one of the `taken` strategies is called already."""
    strategy, module = distribution.removeprefix(PREFIX), distribution.replace("-", "_")
    if not re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)*", strategy) or len(distribution) > LONGEST:
        remedy = f'at most {LONGEST} lower-case letters, digits and single hyphens, such as "my-rule"'
        raise ConfigError(Problem("NAME", f"{distribution!r} cannot be the name of a plugin", remedy))
    if strategy in taken:
        raise ConfigError(Problem("NAME", f'"{strategy}" is the name of a strategy of this kind already', f'such as "my-{strategy}"'))
    if _is_taken(module):
        raise ConfigError(Problem("NAME", f'"{module}" is the name of another module of Python', f'such as "my-{distribution}"'))
    return PluginNames(distribution, strategy, module, "".join(map(str.capitalize, strategy.split("-"))))


def _is_taken(module: str) -> bool:
    return keyword.iskeyword(module) or module in sys.stdlib_module_names or importlib.util.find_spec(module) is not None


@attrs.frozen
class PluginTemplate:
    """What the template of one kind does, and what its modules import."""

    summary: str
    imports: tuple[str, ...]


SORTS = {
    "storage": PluginTemplate("keeps blocks in one SQLite file", ("attrs", "learnae")),
    "announcer": PluginTemplate("passes messages on in one SQLite file", ("attrs", "learnae", "trio")),
    "selector": PluginTemplate("prefers those from whom a transfer is quick", ("attrs", "learnae", "numpy")),
    "gate": PluginTemplate("refuses models that are far away", ("attrs", "learnae", "numpy")),
    "merge": PluginTemplate("takes the median of all models", ("attrs", "learnae", "numpy")),
    "outer": PluginTemplate("takes the merged step with momentum", ("attrs", "learnae", "numpy")),
    "codec": PluginTemplate("sends weights as bfloat16", ("learnae", "numpy")),
}
MANY = ("storage", "announcer", "gate")  # tables that may stand several times


def write_plugin(folder: Path, kind: str, taken: Collection[str]) -> PluginNames:
    """A package called like its folder; `taken` are the strategies of this kind that there are. Raises ConfigError."""
    names = plugin_names(folder.absolute().name, taken)
    fill(folder, _files(names.module, kind), _values(names, kind))
    return names


def _files(module: str, kind: str) -> dict[str, str]:
    return {
        "pyproject.toml": "plugin/pyproject.toml",
        "README.md": "plugin/README.md",
        ".gitignore": "plugin/gitignore",
        f"{module}/__init__.py": "plugin/hook.py",
        f"{module}/{kind}.py": f"plugin/{kind}.py",
        f"tests/test_{module}.py": f"plugin/test_{kind}.py",
    }


def _values(names: PluginNames, kind: str) -> dict[str, str]:
    sort = SORTS[kind]
    return {
        "name": names.distribution,
        "strategy": names.strategy,
        "module": names.module,
        "cls": names.cls,
        "kind": kind,
        "article": "An" if kind[0] in "ao" else "A",
        "called": "outer optimiser" if kind == "outer" else kind,
        "summary": sort.summary,
        "dependencies": ", ".join(f'"{name}{_bounds(name)}"' for name in sort.imports),
        "table": f"[[{kind}]]" if kind in MANY else f"[{kind}]",
    }


def _bounds(package: str) -> str:
    """Of Learnae alone: what else the plugin needs is its author's to bound."""
    version = own_version() if package == "learnae" else None
    return bounds_around(version) if version else ""


FILES = {
    "learnae.toml": "project/learnae.toml",
    "train.py": "project/train.py",
    "README.md": "project/README.md",
    ".gitignore": "project/gitignore",
}
KEY_FILE = "swarm.key"
KEY_COMMENT = "# all peers need this file; keep it from everybody else\n"
COMMENTS_AT = 32  # the column of the comments in learnae.toml
NEEDS = {"torch": "torch", "sklearn": "demo"}
"""The modules that train.py imports, and the extra of Learnae that brings each."""


def write_project(folder: Path, *, private: bool = False) -> None:
    """A private one names a key, which is still to be made. Raises ConfigError, and has then written nothing, or what the disk took."""
    name = swarm_name(folder)
    values = {
        "name": name,
        "folder": folder_name(name),
        "name_line": _before_comment(f'name = "{name}"'),
        "key_line": _before_comment(f'key_file = "{KEY_FILE}"') + KEY_COMMENT if private else "",
        "ignored_key": f"{KEY_FILE}\n" if private else "",
    }
    fill(folder, FILES, values)


def _before_comment(line: str) -> str:
    return line.ljust(COMMENTS_AT - 1) + " "


def missing_extras() -> list[str]:
    """The extras of Learnae without which it cannot run here."""
    return [extra for module, extra in NEEDS.items() if importlib.util.find_spec(module) is None]
