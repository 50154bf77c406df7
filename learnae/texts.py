"""Text that somebody else wrote, as it may be shown: it says what it says, and does nothing to a terminal, a line or a column.

Printable text stays as it is, in every language. What is not shown as a character of its own becomes its escape, as Python writes it:
controls (of C0 and C1), line ends, marks that turn the direction of reading, what has no width, halves of surrogates.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

LINE_CHARACTERS = 5_000  # a path has at most 4,096 bytes, and is shown whole
CELL_CHARACTERS = 400
LINES = 2_000
TEXT_CHARACTERS = 200_000  # of all lines together
ENTRY_CHARACTERS = 2_000
MARKS = 8  # over and under one letter; written languages need five

_JOINERS = "\u200c\u200d"  # Persian and the languages of India are spelled with them
_SIGNS = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)  # shown, though called controls
_BLANKS = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # letters by name that show nothing
_EMOJI = "\ufe0f"
_OF_TWO = re.compile(r"[\u2630-\u2637\u268a-\u268f\u3248-\u324f\u4dc0-\u4dff\U0001d300-\U0001d356\U0001d360-\U0001d376]")
"""Signs that grew to two columns with Unicode 16, and circled numbers, which some terminals have so."""
# Latin, Greek, Cyrillic, signs, Chinese, Japanese, Korean, where no mark and no blank stands between
_UNMARKED = re.compile(
    r"[ -\u02ff\u0370-\u0482\u048a-\u0590\u2010-\u20cf\u2100-\u27ff\u2e80-\u3029\u3030-\u3098\u309b-\u3163\u3165-\ua66e\uac00-\ud7a3]*"
)
_VIRAMA = 9  # the combining class


def harmless(text: str, most: int = LINE_CHARACTERS) -> str:
    """In one line, cut after so many of its characters, with a word on how many there were."""
    cut = text if len(text) <= most else text[:most]
    if not _is_plain(cut):
        cut = _escaped(cut)
    return cut if len(text) <= most else f"{cut}… ({len(text):,} characters)"


def columns(character: str) -> int:
    """How many columns a terminal gives it at most: one that joins nothing, and has a place of its own for each vowel sign."""
    if unicodedata.category(character) in ("Mn", "Me") and character != _EMOJI:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" or _OF_TWO.match(character) else 1


def fitting(text: str, width: int) -> int:
    """How many of its characters stand in so many columns of any terminal, with the marks over and under the last."""
    for place, character in enumerate(text):
        width -= columns(character)
        if width < 0:
            return place
    return len(text)


def spelled(character: str) -> str:
    """Its escape, as Python writes it."""
    if character.isprintable():  # a mark too many, or a blank: `unicode_escape` knows only ASCII
        return character.encode("unicode_escape").decode("ascii")
    return repr(character)[1:-1]


def harmless_lines(text: str, most: int = LINE_CHARACTERS) -> str:
    """The same for each line of a text whose line ends are ours. It is for the composer to see that no line can pass for another."""
    lines = text[:TEXT_CHARACTERS].split("\n", LINES)
    shown = [harmless(line, most) for line in lines[:LINES]]
    if len(text) > TEXT_CHARACTERS:
        shown.append(f"… ({len(text):,} characters)")
    elif len(lines) > LINES:
        shown.append("…")
    return "\n".join(shown)


def indented(text: str, by: str = "    ") -> str:
    """Where a text may bring lines of its own: each after the first begins further right than any line of ours."""
    return text.replace("\n", f"\n{by}")


def in_shell(path: str | os.PathLike[str]) -> str:
    """A path as it can be pasted into a shell: quoted where that is needed, and spelled in bytes where it would not be harmless."""
    text = os.fspath(path)
    if harmless(text, len(text)) == text:
        return shlex.quote(text) if "," not in text or "'" in text else f"'{text}'"  # a comma ends a command in our texts
    spelled = (chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}" for byte in os.fsencode(text))
    return f"$'{''.join(spelled)}'"


def as_json(value: Any, *, indent: int | None = None) -> str:
    """For programs: valid JSON of ASCII alone, in which texts are whole; numbers that are not finite are null.

    Raises ValueError or RecursionError for what contains itself.
    """
    return _dumped(_finite(value), indent)


def as_short_json(value: Mapping[str, Any], most: int) -> str:
    """The same with so many characters of text at most, counted before they are escaped, and numbers and names count too.

    What is behind them becomes shorter or is left out, and each text that was cut says how long it was. No entry at the top can take all:
    ENTRY_CHARACTERS are kept for each of those behind it.
    """
    shown: dict[str, Any] = {}
    for place, (key, item) in enumerate(value.items()):
        behind = len(value) - place - 1
        allowance = _Allowance(max(most // (behind + 1), most - behind * ENTRY_CHARACTERS))
        shown[allowance.text(key)] = allowance.value(item)
        most = max(0, most - allowance.spent)
    return _dumped(shown, None)


def _dumped(value: Any, indent: int | None) -> str:
    return json.dumps(value, indent=indent, allow_nan=False, default=str).replace("\x7f", "\\u007f")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


class _Allowance:
    """How many characters may still be shown."""

    EACH = 8  # what a value costs beside its text

    def __init__(self, most: int) -> None:
        self._most = most
        self.spent = 0

    def text(self, text: str) -> str:
        left = max(0, self._most - self.spent)
        self.spent += min(left, len(text))
        return text if len(text) <= left else f"{text[:left]}… ({len(text):,} characters)"

    def value(self, value: Any) -> Any:
        self.spent += self.EACH
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(key if isinstance(key, str) else str(key)): self.value(item) for key, item in self._of(value.items())}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in self._of(value)]
        return _finite(value) if isinstance(value, float) else self.text(str(value))

    def _of(self, values: Iterable[Any]) -> Iterator[Any]:
        return itertools.takewhile(lambda _: self.spent < self._most, values)


def _is_plain(text: str) -> bool:
    """Most texts are: nothing in them has to be looked at by itself."""
    return text.isprintable() and (text.isascii() or _UNMARKED.fullmatch(text) is not None)


def _escaped(text: str) -> str:
    shown, marks = [], 0
    for place, character in enumerate(text):
        marks = marks + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        good = (_is_shown(character) and marks <= MARKS) or (character in _JOINERS and _joins(text, place))
        shown.append(character if good else spelled(character))
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
