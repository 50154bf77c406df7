"""The file itself: found, readable, TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from learnae.errors import ConfigError, Problem

DEEPEST = 32  # levels of tables and lists


def read(path: Path) -> dict[str, Any]:
    """The document in a file. Raises ConfigError that says what to do about a file that cannot be read."""
    text = _text(path)
    try:
        document = tomllib.loads(text)
        if not is_shallow(document):
            raise RecursionError
    except RecursionError as error:
        raise ConfigError(Problem(str(path), "is nested too deeply")) from error
    except ValueError as error:
        raise ConfigError(Problem(str(path), f"is not valid TOML: {error}", "text stands in quotes, tables in [brackets]")) from error
    return document


def is_shallow(value: Any) -> bool:
    """Whether whoever walks through it stays far from the limits of recursion."""
    level = [value]
    for _ in range(DEEPEST):
        level = [item for one in level if isinstance(one, dict | list) for item in (one.values() if isinstance(one, dict) else one)]
    return not level


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # editors on Windows begin files with a mark
    except FileNotFoundError as error:
        raise ConfigError(Problem(str(path), "there is no such file", "check the path; the README shows a first one")) from error
    except IsADirectoryError as error:
        raise ConfigError(Problem(str(path), "is a folder", f"name the file in it, such as {path / 'learnae.toml'}")) from error
    except PermissionError as error:
        raise ConfigError(Problem(str(path), "may not be read by this user", f"chmod u+r {path}")) from error
    except UnicodeDecodeError as error:
        raise ConfigError(Problem(str(path), f"is not UTF-8 text (byte {error.start})", "save it as UTF-8")) from error
    except (OSError, ValueError) as error:
        raise ConfigError(Problem(str(path), f"cannot be read: {error}")) from error
