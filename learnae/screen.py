"""Tables and lines that move, by rich. No text in them is markup, and none does anything to the terminal.

Nobody else makes a Console, a Table or a Text: what a cell shows has been cut and made harmless before rich measures it, and whatever
comes another way is made harmless as it goes out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table as RichTable
from rich.text import Text

from learnae.texts import CELL_CHARACTERS, LINE_CHARACTERS, harmless, harmless_lines


def cell(text: str, style: str = "") -> Text:
    """What stands in one place of a table: in one line."""
    return Text(harmless(text, CELL_CHARACTERS), style)


def line(text: str, style: str = "", **how: Any) -> Text:
    """One whole line."""
    return Text(harmless(text, LINE_CHARACTERS), style, **how)


class Table(RichTable):
    """Each text in it is in one line, unless a `cell` was put together of several."""

    def add_row(self, *cells: RenderableType | None, **how: Any) -> None:
        super().add_row(*(cell(one) if isinstance(one, str) else one for one in cells), **how)


class Screen(Console):
    """On stdout."""

    def __init__(self, **how: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **how)

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(harmless_lines(text), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Control segments are rich's own: how the cursor moves."""
        for segment in super().render(renderable, options):
            shown = segment.text if segment.control else harmless_lines(segment.text, len(segment.text))
            yield segment if shown == segment.text else Segment(shown, segment.style)
