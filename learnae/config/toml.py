"""The file itself: found, readable, TOML."""

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

MOST_BYTES = 4 * MEGABYTE  # a thousand keys of peers are 70 kB
DEEPEST = 32  # levels of tables and lists


def read(path: Path, *, named: bool = True) -> dict[str, Any]:
    """The document in a file. Raises ConfigError that says what to do about a file that cannot be read.

    One that was not `named` by its user is only read if it is a plain file: nothing else that lies there is waited for. It may be reached
    by a link, as the files of a volume of Kubernetes are.
    """
    text = _text(path, named=named)
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
