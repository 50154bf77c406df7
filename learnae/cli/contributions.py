"""`learnae contributions`: what each other peer gave, as this peer has counted it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import click

from learnae.cli import options
from learnae.cli.homes import HISTORY, find_home
from learnae.cli.options import UNKNOWN, ago, of_bytes, of_count
from learnae.node.contributions import PeerContribution
from learnae.node.history import History
from learnae.outlets import print_json
from learnae.screen import Screen, Table, cell

COLUMNS = ("merged", "weight", "refused", "failed", "rows", "bytes", "loss", "first", "last")
LARGEST_LOSS = 1e5


def facts(home: Path, most: int) -> dict[str, Any]:
    """JSON-ready: times are seconds since 1970. Those that gave most come first."""
    with History.read(home / HISTORY) as history:
        found = history.reader.contributions()
    return {"home": str(home), "at": time.time(), "peers_known": len(found), "peers": [_as_data(one) for one in found[:most]]}


def _as_data(one: PeerContribution) -> dict[str, Any]:
    given = attrs.asdict(one.given)
    if not one.given.evaluated:
        given["loss_change"] = None
    return {"peer": one.peer, **given, "first_at": one.first_at, "last_at": one.last_at}


def show(found: dict[str, Any]) -> None:
    """One peer a line."""
    console = Screen()
    if not found["peers"]:
        console.print("No other peer has given anything yet.")
        return
    console.print(_table(found["peers"], found["at"]))
    if left := found["peers_known"] - len(found["peers"]):
        console.print(f"and {left:,} more: --peers {found['peers_known']}")


def _table(peers: Sequence[dict[str, Any]], now: float) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("peer", no_wrap=True)
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for one in peers:
        counts = (of_count(one["merged"]), _weight(one["weight"]), *(of_count(one[name]) for name in ("refused", "failed", "rows")))
        times = (ago(now - one["first_at"]), ago(now - one["last_at"]))
        table.add_row(cell(one["peer"][:8], "cyan"), *counts, of_bytes(one["bytes"]), _change(one["loss_change"]), *times)
    return table


def _weight(weight: float) -> str:
    return f"{weight:.1f}" if 0 <= weight < 1000 else of_count(round(weight)) if 0 <= weight < 1e15 else UNKNOWN


def _change(change: float | None) -> str:
    if change is None:
        return "-"
    return f"{change:+.3f}" if abs(change) < LARGEST_LOSS else UNKNOWN


@click.command()
@options.home
@click.option("--peers", "most", type=click.IntRange(min=1, max=100_000), help="How many peers to show. [20; JSON: 1000]")
@options.as_json
def contributions(home: str | None, most: int | None, as_json: bool) -> None:
    """Show what each other peer gave to the peer in HOME: merged updates and their weight, what was refused, rows and bytes.

    `loss` is its part of how the test loss moved, where this peer measures one. HOME is a peer's folder or its TOML file. Without HOME it
    is learnae.toml in this folder, or else the home under the state folder.
    """
    found = facts(find_home(home), (1000 if as_json else 20) if most is None else most)
    if as_json:
        print_json(found, indent=2)
    else:
        show(found)
