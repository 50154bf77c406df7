"""A project that `learnae run` can run as it is."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from learnae.config.folders import folder_name
from learnae.scaffold.folders import fill
from learnae.scaffold.names import swarm_name

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
