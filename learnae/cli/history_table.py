"""Rounds as data, and as a table of 80 columns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import attrs

from learnae.cli.units import moment, of_bytes, of_count
from learnae.node.insight import PastRound
from learnae.screen import Screen, Table

BEFORE = ("round", "when", "took", "heard", "chose", "merged", "refused", "failed")
WIDEST = 20  # columns; the names of all outcomes are shorter
AFTER = ("sent", "got", "age", "outcome")


def as_data(one: PastRound) -> dict[str, Any]:
    """JSON-ready: the fields of a PastRound, lineages as hexadecimal digits."""
    return {**attrs.asdict(one), "lineage": one.lineage.hex(), "splits": [lineage.hex() for lineage in one.splits]}


def show(rounds: Sequence[PastRound]) -> None:
    """Every number of a round, one round a line; what was lost to a plugin only where something was."""
    if not rounds:
        Screen().print("No round was finished yet.")
        return
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    lost = any(one.lost for one in rounds)
    for name in (*BEFORE, *(("lost",) if lost else ()), *AFTER):
        table.add_column(name, justify="left" if name in ("when", "outcome") else "right", no_wrap=True, max_width=WIDEST)
    now = time.time()
    for one in rounds:
        table.add_row(*_cells(one, now, lost=lost))
    Screen().print(table)


def _cells(one: PastRound, now: float, *, lost: bool) -> list[str]:
    counts = (one.heard, one.chosen, one.merged, one.refused, one.failed, *((one.lost,) if lost else ()))
    sizes = (_short(one.published_bytes), _short(one.fetched_bytes))
    return [str(one.round), moment(one.at, now), f"{one.seconds:.2f}", *map(str, counts), *sizes, of_count(one.age), one.outcome]


def _short(count: int) -> str:
    """Such as "12k": the column has no room for more."""
    return of_bytes(count).replace(" ", "").replace("B", "") or "0"
