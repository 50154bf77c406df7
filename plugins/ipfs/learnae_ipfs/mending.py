"""Blocks with wrong bytes on a daemon's disk, replaced by what others have.

Kubo neither checks what it reads from its disk nor writes over a block that it has. So a damaged block has to go before the right one can
come, and a pinned one may not go. Where this peer alone has it pinned, its pins are taken away, and made again when the block is back.
"""

from __future__ import annotations

import contextlib

import attrs
import trio

from learnae import Cid, Unavailable
from learnae_ipfs.line import Line, Refused
from learnae_ipfs.pins import Pins
from learnae_ipfs.search import Search

RESTORE_SECONDS = 10.0


@attrs.frozen
class Aside:
    """An own pin that was taken away, and the block that it held."""

    name: str
    damaged: Cid


async def mend(search: Search, pins: Pins, silence_seconds: float) -> None:
    """Touches nothing but blocks that were read and found wrong, and own pins. A root whose block is nowhere is pinned no more."""
    aside: dict[Cid, Aside] = {}
    async with pins.lock:
        await search.locally_again()  # somebody may have mended it since
        try:
            removed = await _removed(search, pins, aside)
            search.damaged -= removed
            await search.everywhere(silence_seconds, removed)
        finally:
            with trio.move_on_after(RESTORE_SECONDS, shield=bool(aside)):
                await _pin_again(pins, {ticket: pin.name for ticket, pin in aside.items() if pin.damaged not in search.wanted})


async def _removed(search: Search, pins: Pins, aside: dict[Cid, Aside]) -> set[Cid]:
    removed: set[Cid] = set()
    with contextlib.suppress(Refused, Unavailable):
        tickets = await pins.tickets()
        for cid in search.damaged:
            if await pins.daemon.call(lambda line, cid=cid: _remove(line, cid, tickets, aside)):  # type: ignore[misc]
                removed.add(cid)
    return removed


async def _pin_again(pins: Pins, tickets: dict[Cid, str]) -> None:
    for ticket, name in tickets.items():
        with contextlib.suppress(Refused, Unavailable):
            await pins.pin(ticket, name)


def _remove(line: Line, cid: Cid, tickets: dict[Cid, str], aside: dict[Cid, Aside]) -> bool:
    """Whether the block is gone. Own tickets that hold it move to `aside`, noted before they are unpinned."""
    while True:
        error = next((str(answer["Error"]) for answer in line.ask("block/rm", cid) if answer.get("Error")), "")
        if not error:
            return True
        ticket = next((ticket for ticket in tickets if error == f"pinned via {ticket}"), None)
        if ticket is None:
            return False
        aside[ticket] = Aside(tickets.pop(ticket), cid)
        list(line.ask("pin/rm", ticket))
