"""`learnae contributions`: what each other peer gave, as this peer has counted it, and as others say."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median_low
from typing import Any

import attrs
import click

from learnae.cli import options
from learnae.cli.homes import HISTORY, command_for, find_home, processes_of
from learnae.cli.options import UNKNOWN, ago, of_bytes, of_count
from learnae.config.rules import IDLE_KEYS
from learnae.config.saved_config import kept
from learnae.errors import ConfigError, Problem, UpdateRejectedError
from learnae.node.contributions import Contribution, PeerContribution
from learnae.node.history import History
from learnae.node.views import ContributionView, decode_view
from learnae.outlets import print_json, print_result
from learnae.records import PeerId
from learnae.screen import Screen, Table, cell, line

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
    _show_left(console, found)


def _show_left(console: Screen, found: dict[str, Any]) -> None:
    if left := found["peers_known"] - len(found["peers"]):
        console.print(f"and {left:,} more: --peers {found['peers_known']}")


def _table(peers: Sequence[dict[str, Any]], now: float) -> Table:
    table = _of_peers(COLUMNS)
    for one in peers:
        counts = (of_count(one["merged"]), _weight(one["weight"]), *(of_count(one[name]) for name in ("refused", "failed", "rows")))
        times = (ago(now - one["first_at"]), ago(now - one["last_at"]))
        table.add_row(cell(one["peer"][:8], "cyan"), *counts, of_bytes(one["bytes"]), _change(one["loss_change"]), *times)
    return table


def _of_peers(columns: Sequence[str]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("peer", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _weight(weight: float) -> str:
    return f"{weight:.1f}" if 0 <= weight < 1000 else of_count(round(weight)) if 0 <= weight < 1e15 else UNKNOWN


def _change(change: float | None) -> str:
    if change is None:
        return "-"
    return f"{change:+.3f}" if abs(change) < LARGEST_LOSS else UNKNOWN


MUCH = 4
"""Who says more than so many times what is typical, or less than that part of it, differs by much; both counted with one more."""
COMPARED = ("merged", "rows", "bytes")


def compared(home: Path, most: int) -> dict[str, Any]:
    """JSON-ready: for each peer what this one says, the lower median of what others say, and who of them differs by much."""
    with History.read(home / HISTORY) as history:
        order, views = history.orders.last_ask(), _views(history)
        own = {one.peer: one.given for one in history.reader.contributions()}
    others: dict[PeerId, dict[PeerId, Contribution]] = {}
    for view, _ in views.values():
        for row in view.given:
            others.setdefault(row.peer, {})[view.peer] = row.given
    peers = sorted({*own, *others}, key=lambda peer: (-own.get(peer, Contribution()).merged, -len(others.get(peer, ())), peer))
    return {
        "home": str(home),
        "at": time.time(),
        "asked": None if order is None else attrs.asdict(order),
        "views": [{"peer": peer, "came_at": at, "round": view.round, "peers": len(view.given)} for peer, (view, at) in views.items()],
        "peers_known": len(peers),
        "peers": [_compared_one(peer, own.get(peer), others.get(peer, {})) for peer in peers[:most]],
    }


def _views(history: History) -> dict[PeerId, tuple[ContributionView, float]]:
    """Checked once more: anybody may have written to a home. What does not pass counts as not there."""
    found = dict[PeerId, tuple[ContributionView, float]]()
    for one in history.reader.views():
        try:
            found[one.peer] = decode_view(one.data, peer=one.peer), one.at
        except UpdateRejectedError:
            continue
    return found


def _compared_one(peer: PeerId, own: Contribution | None, others: Mapping[PeerId, Contribution]) -> dict[str, Any]:
    said = [*others.values(), *([own] if own else [])]
    typical = {name: median_low([getattr(one, name) for one in said]) for name in COMPARED}
    return {
        "peer": peer,
        "own": None if own is None else {name: getattr(own, name) for name in COMPARED},
        "others": {name: median_low([getattr(one, name) for one in others.values()]) for name in COMPARED} if others else None,
        "views": len(others),
        "differ": sorted(viewer for viewer, one in others.items() if any(_is_far(getattr(one, name), typical[name]) for name in COMPARED)),
    }


def _is_far(said: int, typical: int) -> bool:
    return said + 1 > MUCH * (typical + 1) or MUCH * (said + 1) < typical + 1


def show_compared(found: dict[str, Any]) -> None:
    """One peer a line: what this one says, what others say of it."""
    console = Screen()
    for sentence in _about_asking(found):
        console.print(line(sentence), soft_wrap="`" in sentence)  # a command is to be copied
    if not found["views"]:
        return
    table = _of_peers(("views", "merged", "others", "rows", "others", "bytes", "others"))
    table.add_column("differ", overflow="ellipsis", no_wrap=True)
    for one in found["peers"]:
        pairs = [_said(about, name) for name in COMPARED for about in (one["own"], one["others"])]
        differ = cell(", ".join(viewer[:8] for viewer in one["differ"]) or "-", "yellow" if one["differ"] else "")
        table.add_row(cell(one["peer"][:8], "cyan"), str(one["views"]), *pairs, differ)
    console.print(table)
    _show_left(console, found)


def _said(about: Mapping[str, int] | None, name: str) -> str:
    if about is None:
        return "-"
    return of_bytes(about[name]) if name == "bytes" else of_count(about[name])


def _about_asking(found: dict[str, Any]) -> Iterator[str]:
    order, ask = found["asked"], command_for(Path(found["home"]), "contributions", "--ask")
    if order is None:
        yield f"The views of others were never asked for: {ask}"
    else:
        yield f"Asked {ago(found['at'] - order['at'])} ago: {order['outcome'] or 'not carried out yet'}."
    if found["views"]:
        newest = max(view["came_at"] for view in found["views"])
        views = f"Views that came: {len(found['views'])}, the newest {ago(found['at'] - newest)} ago."
        yield f"{views} Each is what its peer says, and may be a lie."


def order_ask(home: Path) -> Iterator[str]:
    """Give the order. Raises ConfigError for a home without a history, and for one of a role that fetches no views."""
    if (role := _role(home)) in IDLE_KEYS:
        message, remedy = f"is the home of a {role}, which merges nothing and fetches no views", "ask at a peer that trains, or an observer"
        raise ConfigError(Problem(str(home), message, remedy))
    with History.read(home / HISTORY):
        running = processes_of(home).running
    with History.open(home / HISTORY) as history:
        history.orders.ask_views()
    when = "within some seconds" if running else "some seconds after its next start"
    yield f"{home}: {when}, this peer fetches the signed views of those that it hears and that publish one."
    yield f"{command_for(home, 'contributions', '--others')} shows what they say."


def _role(home: Path) -> str | None:
    """Of the peer that has run there last, as its file says it."""
    found = kept(home)
    peer = found.document.get("peer") if found else None
    role = peer.get("role") if isinstance(peer, Mapping) else None
    return role if isinstance(role, str) else None


@click.command()
@options.home
@click.option("--peers", "most", type=click.IntRange(min=1, max=100_000), help="How many peers to show: 20, with --json 1,000.")
@click.option("--others", is_flag=True, help="Compare it with the signed views of others that were fetched.")
@click.option("--ask", is_flag=True, help="Order the peer to fetch the signed views of others now.")
@options.as_json
def contributions(home: str | None, most: int | None, others: bool, ask: bool, as_json: bool) -> None:
    """Show what each other peer gave to the peer in HOME: merged updates and their weight, what was refused, rows and bytes.

    `loss` is its part of how the test loss moved, where this peer measures one. With --others: what this peer says of each, the median of
    what others say, and who of those differs by much. HOME is a peer's folder or its TOML file. Without HOME it is learnae.toml in this
    folder, or else the home under the state folder.
    """
    if ask and (others or as_json):
        raise click.UsageError("--ask only gives an order: look at what came of it with --others, later")
    path = find_home(home)
    if ask:
        print_result(*order_ask(path))
        return
    most = (1000 if as_json else 20) if most is None else most
    found = compared(path, most) if others else facts(path, most)
    if as_json:
        print_json(found, indent=2)
    elif others:
        show_compared(found)
    else:
        show(found)
