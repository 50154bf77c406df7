"""Blocks out of a daemon: what it has itself, then what others have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import attrs
import trio

from learnae import Block, Cid, Unavailable
from learnae.content.cids import check
from learnae.identity.wire import HINT_CHARACTERS
from learnae.records import BLOCK_BYTES
from learnae_ipfs.daemon import LINES, Daemon
from learnae_ipfs.line import Line, Refused

HINTS = 8
MEET_SECONDS = 3.0
_HINT = re.compile(rf"(?=.{{1,{HINT_CHARACTERS}}}\Z)/[\x21-\x7e]+/p2p/\w+")


@attrs.define
class Search:
    """`wanted` shrinks with each block that is delivered."""

    daemon: Daemon
    wanted: dict[Cid, None]
    deliver: Callable[[Block], None]
    outage: Unavailable | None = None

    async def locally(self) -> None:
        """A daemon that is asked for what it has not got would search the network for it, and answer late."""
        await self._run(None, offline="true")

    async def everywhere(self, silence_seconds: float) -> None:
        """Ends when no block has come for so long."""
        await self._run(silence_seconds)

    async def _run(self, silence_seconds: float | None, **opts: str) -> None:
        left = iter(tuple(self.wanted))
        async with trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            for _ in range(min(LINES, len(self.wanted))):
                nursery.start_soon(self._take, left, scope, silence_seconds, opts)
            if silence_seconds is not None:
                scope.deadline = trio.current_time() + silence_seconds

    async def _take(self, left: Iterator[Cid], scope: trio.CancelScope, silence_seconds: float | None, opts: dict[str, str]) -> None:
        for cid in left:
            try:
                data = await self.daemon.call(lambda line, cid=cid: _read(line, cid, opts))  # type: ignore[misc]
            except Unavailable as error:
                self.outage = error
                scope.cancel()
                return
            if data is not None and cid in self.wanted and check(block := Block(cid, data)):
                del self.wanted[cid]
                if silence_seconds is not None:
                    scope.deadline = trio.current_time() + silence_seconds
                self.deliver(block)


async def meet(daemon: Daemon, hints: Sequence[str]) -> None:
    """Connect the daemon to these addresses of others, as far as they are any and can be reached."""
    with trio.move_on_after(MEET_SECONDS):
        async with trio.open_nursery() as nursery:
            for hint in [hint for hint in hints[:HINTS] if _HINT.match(hint)]:
                nursery.start_soon(_meet_at, daemon, hint)


async def _meet_at(daemon: Daemon, hint: str) -> None:
    try:
        await daemon.call(lambda line: list(line.ask("swarm/connect", hint)))
    except (Refused, Unavailable):
        return  # rubbish, or nobody there: what is missing is told by its blocks


def _read(line: Line, cid: Cid, opts: dict[str, str]) -> bytes | None:
    try:
        return line.read("block/get", cid, most=BLOCK_BYTES, **opts)
    except Refused:
        return None


def own_hints(line: Line) -> tuple[str, ...]:
    """Where the daemon can be reached; what reaches it from other machines stands first."""
    addresses = next(line.ask("id")).get("Addresses") or ()
    usable = [address for address in addresses if _HINT.match(address)]
    return tuple(sorted(usable, key=lambda address: address.startswith(("/ip4/127.", "/ip6/::1/")))[:HINTS])
