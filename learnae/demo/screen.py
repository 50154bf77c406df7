"""What the demo shows: a live table on a terminal, plain lines elsewhere, and a picture at the end."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import TYPE_CHECKING

import attrs
import trio
from rich import box
from rich.console import Group
from rich.live import Live

from learnae.demo.director import Baselines, Director
from learnae.demo.processes import Peer, State
from learnae.screen import Screen, Table, cell, line

if TYPE_CHECKING:
    from rich.text import Text


BAR = 16  # characters
WIDE = 104  # columns of a terminal
STYLES = {State.KILLED: "bold red", State.RETURNING: "yellow", State.STARTING: "dim", State.DONE: "green", State.FAILED: "bold red"}


def live_table(director: Director, width: int) -> Group:
    """Where all peers stand now; a terminal of fewer than 104 columns shows less."""
    table = Table(box=box.SIMPLE_HEAD, title=f"{director.seconds:3.0f} s", title_justify="left", title_style="bold")
    wide = ("hears", "refused", "data") if width >= WIDE else ()
    for name in ("peer", "images", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("steps", "accuracy", "merged", *wide):
        table.add_column(name, justify="right", no_wrap=True)
    for peer in director.peers:
        state, total = cell(peer.state, STYLES.get(peer.state, "")), peer.total
        more = (str(peer.heard), f"{total.refused:,}", megabytes(total.bytes))
        shown = (peer.name, peer.knows, state, f"{peer.steps:,}", accuracy_bar(peer.accuracy), f"{total.merged:,}")
        table.add_row(*shown, *more[: len(wide)])
    return Group(table, "")  # the terminal writes ^C behind its end: in a line that is full, that would begin another one


def closing_table(peers: list[Peer], baselines: Baselines) -> Table:
    """What it came to: each peer alone, in the swarm, and one model with all the data."""
    table = Table(box=box.SIMPLE_HEAD, title="Accuracy on 360 images of all ten digits", title_justify="left", title_style="bold")
    for name, justify in (("peer", "left"), ("has images of", "left"), ("alone", "right"), ("in the swarm", "right"), ("", "left")):
        table.add_column(name, justify=justify, no_wrap=bool(name))  # type: ignore[arg-type]
    for peer, alone in zip(peers, baselines.alone, strict=True):
        table.add_row(peer.name, peer.knows, percent(alone), cell(percent(peer.accuracy), "bold green"), _fate(peer))
    table.add_section()
    table.add_row("mean", "", percent(fmean(baselines.alone)), cell(percent(mean_accuracy(peers)), "bold green"))
    return table


def summary(peers: list[Peer], baselines: Baselines) -> str:
    """The same in three sentences."""
    best, together, all_data = percent(max(baselines.alone)), percent(mean_accuracy(peers)), percent(baselines.central)
    return (
        f"Alone, none of the peers would have got beyond {best}. In the swarm they reach {together}, and no image has left its peer. "
        f"One model that has all the images, and as many steps as the busiest peer ({baselines.steps:,}), reaches {all_data}."
    )


def mean_accuracy(peers: list[Peer]) -> float:
    return fmean(peer.accuracy or 0.0 for peer in peers)


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _fate(peer: Peer) -> str:
    merged = f"merged {peer.total.merged:,}"
    if peer.killed_at is None or peer.back_at is None:
        return merged
    return f"{merged}, {peer.merged_since_return:,} since it came back"


def accuracy_bar(accuracy: float | None) -> Text:
    """24 columns."""
    filled = round(BAR * (accuracy or 0.0))
    return cell("━" * filled, "green").append("─" * (BAR - filled), "dim").append(f" {percent(accuracy):>6}")


FRAME_SECONDS = 0.25
LINE_SECONDS = 3.0


@attrs.frozen
class Manner:
    """How a play is shown while it goes on: as a table where there is a terminal, in a line elsewhere."""

    table: Callable[[Director, int], Group]
    words: Callable[[Director], str]


async def watch(director: Director, console: Screen, manner: Manner) -> None:
    """Show until cancelled."""
    if console.is_terminal:
        await _frames(director, console, manner.table)
    else:
        await _lines(director, console, manner.words)


async def _frames(director: Director, console: Screen, table: Callable[[Director, int], Group]) -> None:
    told = 0
    with Live(table(director, console.width), console=console, auto_refresh=False) as live:
        try:
            while True:
                told = _tell_events(director, console, told)
                live.update(table(director, console.width), refresh=True)
                await trio.sleep(FRAME_SECONDS)
        finally:
            _tell_events(director, console, told)
            live.update(table(director, console.width), refresh=True)


async def _lines(director: Director, console: Screen, in_words: Callable[[Director], str]) -> None:
    told, shown = 0, ""
    while True:
        told = _tell_events(director, console, told)
        words = in_words(director)
        if words != shown and any(peer.accuracy is not None for peer in director.peers):
            console.print(line(f"{director.seconds:3.0f} s  {words}"), soft_wrap=True)
            shown = words
        await trio.sleep(LINE_SECONDS)


def _tell_events(director: Director, console: Screen, told: int) -> int:
    for seconds, event in director.events[told:]:
        console.print(line(f"{seconds:3.0f} s  {event}", "bold"), soft_wrap=True)
    return len(director.events)


def in_words(director: Director) -> str:
    """The same as the table in one line."""
    shown = [f"{peer.name} {percent(peer.accuracy)}{_remark(peer)}" for peer in director.peers]
    merged = sum(peer.total.merged for peer in director.peers)
    moved = sum(peer.total.bytes for peer in director.peers)
    return f"{', '.join(shown)}; merged {merged:,}, {megabytes(moved)}"


def _remark(peer: Peer) -> str:
    return "" if peer.state in (State.TRAINING, State.DONE) else f" ({peer.state})"
