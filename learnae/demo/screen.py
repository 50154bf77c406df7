"""What the demo shows while it plays: a table that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import trio
from rich.live import Live

from learnae.demo.director import Director
from learnae.demo.peers import Peer, State
from learnae.demo.table import live_table, megabytes, percent
from learnae.screen import Screen, line

FRAME_SECONDS = 0.25
LINE_SECONDS = 3.0


async def watch(director: Director, console: Screen) -> None:
    """Show until cancelled."""
    if console.is_terminal:
        await _frames(director, console)
    else:
        await _lines(director, console)


async def _frames(director: Director, console: Screen) -> None:
    told = 0
    with Live(live_table(director, console.width), console=console, auto_refresh=False) as live:
        try:
            while True:
                told = _tell_events(director, console, told)
                live.update(live_table(director, console.width), refresh=True)
                await trio.sleep(FRAME_SECONDS)
        finally:
            _tell_events(director, console, told)
            live.update(live_table(director, console.width), refresh=True)


async def _lines(director: Director, console: Screen) -> None:
    told, shown = 0, ""
    while True:
        told = _tell_events(director, console, told)
        words = _in_words(director)
        if words != shown and any(peer.accuracy is not None for peer in director.peers):
            console.print(line(f"{director.seconds:3.0f} s  {words}"), soft_wrap=True)
            shown = words
        await trio.sleep(LINE_SECONDS)


def _tell_events(director: Director, console: Screen, told: int) -> int:
    for seconds, event in director.events[told:]:
        console.print(line(f"{seconds:3.0f} s  {event}", "bold"), soft_wrap=True)
    return len(director.events)


def _in_words(director: Director) -> str:
    shown = [f"{peer.name} {percent(peer.accuracy)}{_remark(peer)}" for peer in director.peers]
    merged = sum(peer.total.merged for peer in director.peers)
    moved = sum(peer.total.bytes for peer in director.peers)
    return f"{', '.join(shown)}; merged {merged:,}, {megabytes(moved)}"


def _remark(peer: Peer) -> str:
    return "" if peer.state in (State.TRAINING, State.DONE) else f" ({peer.state})"
