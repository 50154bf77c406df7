"""Tables and lines that move, by rich. No text in them is markup, and none does anything to the terminal.

Nobody else makes a Console, a Table or a Text: what a cell shows has been cut and made harmless before rich measures it, and whatever
comes another way is made harmless as it goes out.
"""

from __future__ import annotations

from collections.abc import Iterable
from shutil import get_terminal_size
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table as RichTable
from rich.text import Text

from learnae.texts import CELL_CHARACTERS, LINE_CHARACTERS, columns, harmless, harmless_lines, spelled

_JOINER = "\u200d"  # also counts for what it joins
_MOST_DOUBTFUL = 8  # columns in one cell, by which a row may go past the edge


def cell(text: str, style: str = "") -> Text:
    """What stands in one place of a table: in one line."""
    return Text(_measurable(harmless(text, CELL_CHARACTERS)), style)


def line(text: str, style: str = "", **how: Any) -> Text:
    """One whole line."""
    return Text(_measurable(harmless(text, LINE_CHARACTERS)), style, **how)


def _measurable(text: str) -> str:
    """Rich gives no place to vowel signs, and one to several emojis that are joined; terminals differ. So that a row ends about where rich
    ends it, some columns of them are shown as they are, and the rest is escaped.
    """
    if text.isascii():
        return text
    left, shown = _MOST_DOUBTFUL, []
    for character in text:
        left -= 2 if character == _JOINER else max(0, columns(character) - cell_len(character))
        doubtful = left < 0 and (character == _JOINER or columns(character) > cell_len(character))
        shown.append(spelled(character) if doubtful else character)
    return "".join(shown)


class Table(RichTable):
    """Each text in it is in one line, unless a `cell` was put together of several."""

    def add_row(self, *cells: RenderableType | None, **how: Any) -> None:
        super().add_row(*(cell(one) if isinstance(one, str) else one for one in cells), **how)


class Screen(Console):
    """On stdout."""

    def __init__(self, **how: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **how)
        if self.width < 1:  # rich takes COLUMNS=0 at its word, and shows nothing
            self.width = get_terminal_size().columns

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(harmless_lines(text), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Control segments are rich's own: how the cursor moves."""
        for segment in super().render(renderable, options):
            shown = segment.text if segment.control else harmless_lines(segment.text, len(segment.text))
            yield segment if shown == segment.text else Segment(shown, segment.style)
