"""The file itself: found, readable, TOML.

It may be somebody else's, who wants to hold a command up: the reader of TOML takes time with the square of the length of a dotted key.
"""

from __future__ import annotations

import errno
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from learnae.errors import ConfigError, Problem
from learnae.opening import read_some
from learnae.records import MEGABYTE
from learnae.texts import in_shell

MOST_BYTES = MEGABYTE  # a thousand keys of peers are 70 kB
DEEPEST = 32  # levels of tables and lists
MOST_KEYS = 1_000
_MOST_STEPS = 10_000_000  # of the reader from one part of a dotted key to the next: about a second


def read(path: Path, *, named: bool = True) -> dict[str, Any]:
    """The document in a file. Raises ConfigError that says what to do about a file that cannot be read.

    One that was not `named` by its user is only read if it is a plain file: nothing else that lies there is waited for. It may be reached
    by a link, as the files of a volume of Kubernetes are.
    """
    text = _text(path, named=named)
    if _steps(text) > _MOST_STEPS:
        raise ConfigError(Problem(str(path), "has keys with too many dots", "a key has two or three parts"))
    try:
        document = tomllib.loads(text)
        if not is_shallow(document):
            raise RecursionError
    except RecursionError as error:
        raise ConfigError(Problem(str(path), "is nested too deeply")) from error
    except ValueError as error:
        raise ConfigError(Problem(str(path), f"is not valid TOML: {error}", "text stands in quotes, tables in [brackets]")) from error
    if _keys(document) > MOST_KEYS:
        raise ConfigError(Problem(str(path), f"has more than {MOST_KEYS:,} keys", "a peer's file has some dozens"))
    return document


def is_shallow(value: Any) -> bool:
    """Whether whoever walks through it stays far from the limits of recursion."""
    level = [value]
    for _ in range(DEEPEST):
        level = [item for one in level if isinstance(one, dict | list) for item in (one.values() if isinstance(one, dict) else one)]
    return not level


def _steps(text: str) -> int:
    """At most so many: a key stands in one line, below the table that a line before has opened. Not all dots are of keys."""
    steps, table = 0, 0
    for line in text.split("\n"):
        dots = line.count(".")
        steps += dots * (dots + table)
        if line.lstrip().startswith("["):
            table = max(table, dots)
    return steps + table * text.count("=")


def _keys(value: Any) -> int:
    """Each table of a list counts as one, too."""
    if isinstance(value, dict):
        return len(value) + sum(map(_keys, value.values()))
    return sum(isinstance(item, dict) + _keys(item) for item in value) if isinstance(value, list) else 0


def _text(path: Path, *, named: bool) -> str:
    try:
        return _bytes(path, named=named).decode("utf-8-sig")  # editors on Windows begin files with a mark
    except FileNotFoundError as error:
        raise ConfigError(Problem(str(path), "there is no such file", "check the path; the README shows a first one")) from error
    except IsADirectoryError as error:
        raise ConfigError(Problem(str(path), "is a folder", f"name the file in it, such as {path / 'learnae.toml'}")) from error
    except PermissionError as error:
        raise ConfigError(Problem(str(path), "may not be read by this user", f"chmod u+r {in_shell(path)}")) from error
    except UnicodeDecodeError as error:
        raise ConfigError(Problem(str(path), f"is not UTF-8 text (byte {error.start})", "save it as UTF-8")) from error
    except (OSError, ValueError) as error:
        raise ConfigError(Problem(str(path), f"cannot be read: {error}")) from error


def _bytes(path: Path, *, named: bool) -> bytes:
    if not named:
        _check_plain(os.stat(path).st_mode)  # to open a device may do something already
    with os.fdopen(os.open(path, os.O_RDONLY | (0 if named else os.O_NONBLOCK | os.O_NOCTTY)), "rb") as file:
        if not named:
            _check_plain(os.fstat(file.fileno()).st_mode)
        content = read_some(file, MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES:,} bytes")
    return content


def _check_plain(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no plain file")
