"""Replaces blocks with wrong bytes on a daemon's disk by the right ones of others.

Kubo does not check what it reads from its disk, and does not overwrite a block that it has. So a damaged block has to be removed before the
right one can come. A pinned block cannot be removed. If only this peer has pinned it, its pins are removed until the block is back.
"""

from __future__ import annotations

import contextlib

import trio

from learnae import Cid, UnavailableError
from learnae_ipfs.line import KuboConnection, KuboRefusedError
from learnae_ipfs.pins import Pins
from learnae_ipfs.search import ProviderSearch


async def mend(search: ProviderSearch, pins: Pins, silence_seconds: float) -> None:
    """Touches nothing but blocks that were read and found wrong, and own pins. Those of a root whose block is nowhere stay aside."""
    async with pins.aside.mending:
        await search.locally_again()  # somebody may have mended it since
        try:
            removed = await _removed(search, pins)
            search.damaged -= removed
            await search.everywhere(silence_seconds, removed)
        finally:
            if not pins.aside.nothing:
                with trio.CancelScope(shield=True):
                    await pins.aside.bring_back_now()


async def _removed(search: ProviderSearch, pins: Pins) -> set[Cid]:
    removed: set[Cid] = set()
    with contextlib.suppress(KuboRefusedError, UnavailableError):
        tickets = await pins.tickets()
        for cid in search.damaged:
            if await _is_removed(cid, tickets, pins):
                removed.add(cid)
    return removed


async def _is_removed(cid: Cid, tickets: dict[Cid, str], pins: Pins) -> bool:
    """Whether the block is gone. Own tickets that hold it are taken aside."""
    while True:
        error = await pins.daemon.call(lambda line: _remove(line, cid))
        if not error:
            return True
        ticket = next((ticket for ticket in tickets if error == f"pinned via {ticket}"), None)
        if ticket is None:
            return False
        await pins.aside.take(ticket, tickets.pop(ticket))


def _remove(line: KuboConnection, cid: Cid) -> str:
    """Why it cannot be; nothing if it is gone."""
    return next((str(answer["Error"]) for answer in line.ask("block/rm", cid) if answer.get("Error")), "")
