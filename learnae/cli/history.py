"""`learnae history`: the rounds of a peer, as data and as a table of 80 columns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import attrs
import click

from learnae.cli import options
from learnae.cli.options import UNKNOWN, moment, of_bytes, of_count, took
from learnae.node.history_reader import PastRound
from learnae.outlets import print_json
from learnae.screen import Screen, Table, cell

BEFORE = ("round", "when", "took", "heard", "chose", "merged", "refused", "failed")
NARROWEST = 7  # columns of an outcome; it gets what the figures leave
AFTER = ("sent", "got", "age", "outcome")


def as_data(one: PastRound) -> dict[str, Any]:
    """JSON-ready: the fields of a PastRound, lineages as hexadecimal digits."""
    return {**attrs.asdict(one), "lineage": one.lineage.hex(), "splits": [lineage.hex() for lineage in one.splits]}


def show(rounds: Sequence[PastRound]) -> None:
    """Every number of a round, one round a line; what was lost to a plugin only where something was."""
    if not rounds:
        Screen().print("No round was finished yet.")
        return
    width, table = Screen().width, Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    lost = any(one.lost for one in rounds)
    names = (*BEFORE, *(("lost",) if lost else ()), *AFTER)
    for name in names:
        table.add_column(name, justify="left" if name in ("when", "outcome") else "right", no_wrap=True)
    now = time.time()
    rows = [_figures(one, now, lost=lost) for one in rounds]
    taken = sum(max(map(len, column)) + 1 for column in zip(names, *rows, strict=False))
    for one, figures in zip(rounds, rows, strict=True):
        outcome = cell(one.outcome)
        outcome.truncate(max(width - taken, NARROWEST), overflow="ellipsis")
        table.add_row(*figures, outcome)
    Screen().print(table)


def _figures(one: PastRound, now: float, *, lost: bool) -> list[str]:
    """None widens its column, however large it is."""
    counts = (one.heard, one.chosen, one.merged, one.refused, one.failed, *((one.lost,) if lost else ()))
    sizes = (_short(one.published_bytes), _short(one.fetched_bytes))
    number = str(one.round) if 0 <= one.round < 10**9 else UNKNOWN
    return [
        number,
        moment(one.at, now),
        took(one.seconds),
        *map(_count, counts),
        *sizes,
        of_count(one.age) if one.age < 10**12 else UNKNOWN,
    ]


def _count(count: int) -> str:
    return str(count) if 0 <= count < 100_000 else UNKNOWN


def _short(count: int) -> str:
    """Such as "12k": the column has no room for more."""
    return of_bytes(count).replace(" ", "").replace("B", "") or "0"


@click.command()
@options.home
@click.option(
    "--rounds", "most", type=click.IntRange(min=1, max=1_000_000), default=20, show_default=True, help="How many of the newest to show."
)
@options.as_json
def history(home: str | None, most: int, as_json: bool) -> None:
    """Show the newest rounds of the peer in HOME, the last one at the end.

    HOME is a peer's folder or its TOML file. Without HOME it is learnae.toml in this folder, or else the home under the state folder.
    """
    from learnae.cli.homes import HISTORY, find_home
    from learnae.node.history import History

    with History.read(find_home(home) / HISTORY) as past:
        rounds = past.reader.past_rounds(most)[::-1]
    if as_json:
        print_json([as_data(one) for one in rounds], indent=2)
    else:
        show(rounds)
