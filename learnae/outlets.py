"""Our programs write to stdout and stderr only through these functions. They make the text of others harmless.

Each argument is one line. Line ends in a text cannot make another line. Tables go through `learnae.screen`, the log through
`learnae.logs`. Both filter by the same rules. A terminal breaks a long line at its edge. We break it ourselves there, and indent the rest,
so that it cannot pass for a line of ours.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from learnae.texts import as_json, fitting, harmless

_USUAL_WIDTH, _NARROWEST, _HANG = 80, 20, 4


def print_result(*lines: str) -> None:
    """Write results to stdout, one line for each argument. Raises OSError if that fails."""
    width = _width(sys.stdout)
    _print("\n".join(_broken(harmless(line), width) for line in lines))


def print_json(found: Any, *, indent: int | None = None) -> None:
    """Write a result for programs to stdout, as JSON. Raises OSError if that fails."""
    _print(as_json(found, indent=indent))


def print_message(*lines: str) -> None:
    """Write messages that are no results to stderr, one line for each argument. If that fails (closed, a full disk), nothing is raised."""
    width = _width(sys.stderr)
    put("\n".join(_broken(harmless(line), width) for line in lines))


def put(text: str) -> None:
    """As `print_message`, for what was made harmless already and has our own marks in it: colours, a line that is cleared."""
    stream = sys.stderr
    with contextlib.suppress(Exception):  # a notebook's stream may raise anything
        if stream is sys.__stderr__ and stream is not None:
            _write(stream.fileno(), f"{text}\n".encode(stream.encoding, "backslashreplace"))
        elif stream is not None:
            stream.write(f"{text}\n")
            stream.flush()


def _width(stream: Any) -> int | None:
    """Of the terminal that it is, in columns; None where it is none."""
    with contextlib.suppress(Exception):  # closed, or one of a notebook
        if stream.isatty():
            return max(_NARROWEST, os.get_terminal_size(stream.fileno()).columns or _USUAL_WIDTH)
    return None


def _broken(line: str, width: int | None) -> str:
    """At its blanks, or in the middle of what is longer than a line."""
    if width is None or len(line) * 2 <= width:
        return line
    indent = min(len(line) - len(line.lstrip(" ")) + _HANG, width // 2)
    done, rest = [], line
    while (most := fitting(rest, width)) < len(rest):
        blank = rest.rfind(" ", indent + 1, most) if rest[most] != " " else most
        end = blank if blank > 0 else most
        done.append(rest[:end])
        rest = " " * indent + rest[end:].lstrip(" ")
    return "\n".join([*done, rest])


def _print(text: str) -> None:
    stream = sys.stdout
    if stream is None:  # it was closed before the start
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(f"{text}\n".encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _write(fd: int, line: bytes) -> None:
    """Past Python's buffer: what stays in there is tried again when the process ends, and spoils its exit code."""
    while line:
        line = line[os.write(fd, line) :]
