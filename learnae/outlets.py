"""Our programs write to stdout and stderr only through these functions. They make the text of others harmless.

Each argument is one line. Line ends in a text cannot make another line. Tables go through `learnae.screen`, the log through
`learnae.logs`. Both filter by the same rules. A terminal breaks a long line at its edge. We break it ourselves there, and indent the rest,
so that it cannot pass for a line of ours. A command in it can still be pasted.
"""

from __future__ import annotations

import contextlib
import os
import re
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


def print_to_copy(title: str, *words: str) -> None:
    """As `print_message`: a title, and below it words that are copied into files. The terminal wraps these, since a sign of ours would be
    copied with them. What has a blank in it is no such word, and is broken as any line is: it could pass for a line of ours.
    """
    width = _width(sys.stderr)
    rows = [f"    {harmless(word)}" for word in words]
    put("\n".join([_broken(harmless(title), width), *(row if len(row.split()) == 1 else _broken(row, width) for row in rows)]))


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


COMMAND = re.compile(
    r"`|(?:^|(?<=[\s:(]))(?:chmod|chown|cp|mv|rm|cd|mkdir|ln|cat|setfacl|rsync|sudo|docker run|python|pytest|pip install|export)(?=\s)"
    r"|^\s*(?:learnae\s|[A-Z]+=\S|(?=\$?'))"
)
"""Where something begins that users paste into a shell. It ends at its backtick, or at one of `_ENDS` behind a word."""
_ENDS = ";,)`"
_QUOTES = ("'", '"')


class _Line:
    """A line, and how a shell reads each place in it: from where a command begins, and in other text from where a word does."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.quotes: list[str] = []  # in which each character is: none, ', " or $'
        self._command: list[tuple[int, int] | None] = [None] * (len(text) + 1)
        begins = {found.end() if found[0] == "`" or not found[0].strip() else found.start() for found in COMMAND.finditer(text)}
        quote, start = "", -1
        for place, character in enumerate(text):
            if start < 0 and (place in begins or character == " "):
                quote, start = "", place if place in begins else -1
            self.quotes.append(quote)
            if quote:
                ends = character == quote[-1] and not (quote == "$'" and self._escaped(place))
                quote = "" if ends else quote
            elif character in _QUOTES:
                quote = "$'" if character == "'" and text[:place].endswith("$") else character
            elif start >= 0 and character in _ENDS and (character == "`" or text[place + 1 : place + 2] in ("", " ")):
                self._note(start, place)
                start = -1
        if start >= 0:
            self._note(start, len(text))

    def _note(self, start: int, end: int) -> None:
        self._command[start + 1 : end] = [(start, end)] * (end - start - 1)

    def _escaped(self, place: int) -> bool:
        before = self.text[:place]
        return (len(before) - len(before.rstrip("\\"))) % 2 == 1

    def command_at(self, place: int) -> tuple[int, int] | None:
        """The command that a line end before this character would be in."""
        return self._command[place]

    def fits(self, command: tuple[int, int], width: int) -> bool:
        """With what ends it."""
        whole = self.text[command[0] : command[1] + 1]
        return fitting(whole, width) == len(whole)

    def may_end_at(self, place: int, within: object) -> bool:
        """Whether this is a blank; `within` a command, one between two words."""
        return self.text[place] == " " and not (within and (self.quotes[place] or self.text[place - 1] == "\\"))

    def cut(self, least: int, most: int) -> int:
        """Where a word may be cut, between two places, at the later one if possible: an escape, and the sign of a quotation, stay whole."""
        place = max(least, most)
        while place > least and self._cuts_a_sign(place):
            place -= 1
        return place

    def _cuts_a_sign(self, place: int) -> bool:
        before = self.text[max(0, place - 3) : place]
        return {"$'": "\\" in before, "'": False}.get(self.quotes[place], before.endswith(("\\", "$")))


def _broken(text: str, width: int | None) -> str:
    """At its blanks, or in the middle of what is longer than a line.

    A shell to which the rows are pasted reads a command in them as it would in one row: within a command, and in the middle of a word, a
    row ends in a backslash. There a word goes on behind a quotation mark, so that it cannot pass for a line of ours.
    """
    if width is None or len(text) * 2 <= width:
        return text
    line, indent = _Line(text), min(len(text) - len(text.lstrip(" ")) + _HANG, width // 2)
    rows, head, start = list[str](), "", 0
    while fitting(row := head + text[start:], width) < len(row):
        first = start + max(0, indent + 1 - len(head))
        most, short = (start + fitting(row, room) - len(head) for room in (width, width - 2))  # two for what a row ends in
        for place in range(most, first - 1, -1):
            within = line.command_at(place)
            if within and (place > short or (within[0] > first and line.fits(within, width - indent))):  # then it gets a row of its own
                continue
            if line.may_end_at(place, within):
                rows.append(head + text[start:place] + (" \\" if within else ""))
                head, start = " " * indent, len(text) - len(text[place:].lstrip(" "))
                break
        else:
            cut = line.cut(start + 1, short)
            quote = line.quotes[cut]
            rows.append(f"{head}{text[start:cut]}{quote[-1:]}\\")
            head, start = quote or "''", cut
    return "\n".join([*rows, row])


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
