"""Rows from a published file, a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from learnae.data.hepmass.columns import FEATURES
from learnae.data.hepmass.lines import flaw, lines_of
from learnae.data.hepmass.shares import Share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.data.hepmass.columns import Rows

CHUNK_ROWS = 16_384  # 12 MB of text, 2 MB of numbers


def chunks_of(path: Path, share: Share | None = None, *, after: int = 0, chunk_rows: int = CHUNK_ROWS) -> Iterator[Rows]:
    """The rows of a share as they stand in the file, behind the first `after` rows, at most `chunk_rows` at once.

    Rows are counted from 0, behind the header; lines of other shares are not looked into. Raises ConfigError, with file and line, for
    what is no row: another count of values, no number, one that is not finite, a label that is neither 0 nor 1.
    """
    share = share or Share()
    lines = (line for row, line in enumerate(lines_of(path)) if row >= after and share.holds(row))
    while chunk := list(islice(lines, chunk_rows)):
        yield _parsed(path, chunk)


def _parsed(path: Path, chunk: Sequence[tuple[int, bytes]]) -> Rows:
    """All at once, which is fast; only where that fails line by line, to name the culprit."""
    table = _numbers([line for _, line in chunk])
    if isinstance(table, str) or _flaw_of(table):
        for number, line in chunk:
            row = _numbers([line])
            if what := row if isinstance(row, str) else _flaw_of(row):
                raise flaw(path, number, what)
        raise flaw(path, chunk[0][0], f"begins {len(chunk)} lines of rows that do not fit together")
    assert not isinstance(table, str)
    return table[:, 1:], table[:, 0].copy()


def _numbers(lines: Sequence[bytes]) -> NDArray[np.float32] | str:
    """A table (lines x 29), or why there is none."""
    try:
        table = np.loadtxt([line.decode("latin-1") for line in lines], np.float32, comments=None, delimiter=",", ndmin=2)
    except ValueError:
        return f"holds something that is no number, or not {FEATURES + 1} values"
    return table


def _flaw_of(table: NDArray[np.float32]) -> str | None:
    if table.shape[1] != FEATURES + 1:
        return f"has {table.shape[1]} values, not {FEATURES + 1}"
    if not np.isfinite(table).all():
        return "holds a value that is not finite (or too large for float32)"
    if not np.isin(table[:, 0], (0, 1)).all():
        return f"has the label {table[0, 0]:g}, which is neither 0 nor 1"
    return None
