"""Text that somebody else wrote, as it may be shown: it says what it says, and does nothing to a terminal, a line or a column.

Printable text stays as it is, in every language. What is not shown as a character of its own becomes its escape, as Python writes it:
controls (of C0 and C1), line ends, marks that turn the direction of reading, what has no width, halves of surrogates.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import unicodedata
from collections.abc import Mapping
from typing import Any

LINE_CHARACTERS = 5_000  # a path has at most 4,096 bytes, and is shown whole
CELL_CHARACTERS = 400
LINES = 2_000
MARKS = 8  # over and under one letter; written languages need five

_JOINERS = "\u200c\u200d"  # Persian and the languages of India are spelled with them
# shown, though called controls
_SIGNS = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)  # shown, though called controls
_BLANKS = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # letters by name that show nothing
_EMOJI = "\ufe0f"
_VIRAMA = 9  # the combining class


def harmless(text: str, most: int = LINE_CHARACTERS) -> str:
    """In one line, cut after so many of its characters, with a word on how many there were."""
    cut = text if len(text) <= most else text[:most]
    if not (cut.isascii() and cut.isprintable()):
        cut = _escaped(cut)
    return cut if len(text) <= most else f"{cut}… ({len(text):,} characters)"


def harmless_lines(text: str, most: int = LINE_CHARACTERS) -> str:
    """The same for each line of a text whose line ends are ours. It is for the composer to see that no line can pass for another."""
    lines = text.split("\n", LINES)
    shown = [harmless(line, most) for line in lines[:LINES]]
    return "\n".join([*shown, "…"] if len(lines) > LINES else shown)


def indented(text: str, by: str = "    ") -> str:
    """Where a text may bring lines of its own: each after the first begins further right than any line of ours."""
    return text.replace("\n", f"\n{by}")


def in_shell(path: str | os.PathLike[str]) -> str:
    """A path as it can be pasted into a shell: quoted where that is needed, and spelled in bytes where it would not be harmless."""
    text = os.fspath(path)
    if harmless(text, len(text)) == text:
        return shlex.quote(text)
    spelled = (chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}" for byte in os.fsencode(text))
    return f"$'{''.join(spelled)}'"


def as_json(value: Any, *, indent: int | None = None) -> str:
    """For programs: valid JSON of ASCII alone, in which texts are whole; numbers that are not finite are null.

    Raises ValueError or RecursionError for what contains itself.
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False, default=str).replace("\x7f", "\\u007f")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _escaped(text: str) -> str:
    shown, marks = [], 0
    for place, character in enumerate(text):
        marks = marks + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        good = (_is_shown(character) and marks <= MARKS) or (character in _JOINERS and _joins(text, place))
        shown.append(character if good else _spelled(character))
    return "".join(shown)


def _is_shown(character: str) -> bool:
    if character.isprintable():
        return character not in _BLANKS
    return unicodedata.category(character) == "Zs" or character in _SIGNS


def _joins(text: str, place: int) -> bool:
    """Where it changes what is shown (UAX 31, rules A1, A2 and B): in an Arabic word, behind a virama, between two emojis."""
    before, behind = text[max(0, place - 1) : place], text[place + 1 : place + 2]
    if before and unicodedata.combining(before) == _VIRAMA:
        return True
    if not before or not behind:
        return False
    if text[place] == _JOINERS[1] and unicodedata.category(behind) == "So":
        return before == _EMOJI or unicodedata.category(before) in ("So", "Sk")
    return all(unicodedata.bidirectional(one) == "AL" for one in (before, behind))


def _spelled(character: str) -> str:
    if character.isprintable():  # a mark too many, or a blank: `unicode_escape` knows only ASCII
        return character.encode("unicode_escape").decode("ascii")
    return repr(character)[1:-1]
