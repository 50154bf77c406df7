"""Blocks out of a daemon: what it has itself, then what others have."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

import attrs
import trio

from learnae import Block, Cid, UnavailableError, UpdateRejectedError
from learnae.lowlevel import BLOCK_BYTES, HINT_CHARACTERS, is_intact, parse_cid
from learnae_ipfs.answers import ask
from learnae_ipfs.daemon import LINES, SEARCHES, Daemon
from learnae_ipfs.line import KuboConnection, KuboRefusedError

HINTS = 8
MEET_SECONDS = 3.0
TRIES = 2
READS = LINES - 2  # blocks at once, out of the daemon
FINDS = SEARCHES // 2  # from others: one search for what nobody has leaves the other half to those who search beside it
Read = Callable[[KuboConnection, Cid], Block | None]
_HINT = re.compile(rf"(?=.{{1,{HINT_CHARACTERS}}}\Z)/[\x21-\x7e]+/p2p/\w+")


@attrs.define
class ProviderSearch:
    """`wanted` shrinks with each block that is delivered; others have been asked for those `sought`.

    `damaged` are those that the daemon's disk holds with wrong bytes: it would answer with them, and is not asked again.
    """

    daemon: Daemon
    wanted: dict[Cid, None]
    deliver: Callable[[Block], None]
    damaged: set[Cid] = attrs.field(factory=set)
    sought: set[Cid] = attrs.field(factory=set)
    outage: UnavailableError | None = None

    async def locally(self) -> None:
        """A daemon that is asked for what it has not got would search the network for it, and answer late."""
        await self._run(_read, self.wanted)

    async def locally_again(self) -> None:
        """Whether what was damaged still is."""
        damaged, self.damaged = self.damaged, set()
        await self._run(_read, damaged)

    async def everywhere(self, silence_seconds: float, among: Container[Cid] | None = None) -> None:
        """Ends when no block has come for so long, the second time if others were never asked for: the first may all be nowhere."""
        for _ in range(TRIES):
            left = self.wanted.keys() - self.sought - self.damaged
            cids = [cid for cid in self.wanted if cid in left and (among is None or cid in among)]
            if self.outage is None:
                await self._run(_find, cids, silence_seconds)

    async def _run(self, read: Read, cids: Iterable[Cid], silence_seconds: float = math.inf) -> None:
        wanted = [cid for cid in cids if _is_ours(cid)]
        left = iter(wanted)
        async with trio.open_nursery() as nursery:
            for _ in range(min(FINDS if read is _find else READS, len(wanted))):
                nursery.start_soon(self._take, left, read, nursery.cancel_scope, silence_seconds)

    async def _take(self, left: Iterator[Cid], read: Read, scope: trio.CancelScope, silence_seconds: float) -> None:
        for cid in left:
            try:
                block = await self._ask(cid, read, scope, silence_seconds)
            except UnavailableError as error:
                self.outage = error
                scope.cancel()
                return
            if block is not None and not block.sound:
                self.damaged.add(cid)
            elif block is not None and cid in self.wanted:
                del self.wanted[cid]
                scope.deadline = trio.current_time() + silence_seconds
                self.deliver(block)

    async def _ask(self, cid: Cid, read: Read, scope: trio.CancelScope, silence_seconds: float) -> Block | None:
        """The silence begins when the first block is really asked for: others may be searching before."""
        if read is not _find:
            return await self.daemon.call(lambda line: read(line, cid))
        async with self.daemon.searches:
            self.sought.add(cid)
            if scope.deadline == math.inf:
                scope.deadline = trio.current_time() + silence_seconds
            return await self.daemon.call(lambda line: read(line, cid))


async def meet(daemon: Daemon, hints: Sequence[str]) -> None:
    """Connect the daemon to these addresses of others, as far as they are any and can be reached."""
    addresses: dict[str, list[str]] = {}
    for hint in filter(_HINT.match, hints[:HINTS]):
        addresses.setdefault(hint.rpartition("/")[2], []).append(hint)
    with trio.move_on_after(MEET_SECONDS):
        async with trio.open_nursery() as nursery:
            for of_one in addresses.values():
                nursery.start_soon(_meet_one, daemon, of_one)


async def _meet_one(daemon: Daemon, addresses: Sequence[str]) -> None:
    """By whichever address is the first to answer; a daemon that has met it already says so at once."""
    try:
        await daemon.call(lambda line: line.order("swarm/connect", *addresses))
    except (KuboRefusedError, UnavailableError):
        return  # rubbish, or nobody there: what is missing is told by its blocks


def _is_ours(cid: Cid) -> bool:
    """Others, and the same written otherwise, a daemon might know too; their bytes could not be told right from wrong."""
    try:
        return parse_cid(cid) == cid
    except UpdateRejectedError:
        return False


def _read(line: KuboConnection, cid: Cid) -> Block | None:
    """A block that the daemon has itself, checked here: in a thread, others go on meanwhile."""
    return _checked(line, cid, offline="true")


def _find(line: KuboConnection, cid: Cid) -> Block | None:
    """A block that somebody has. Waits for it without an end of its own: that others come is enough to go on waiting."""
    return _checked(line, cid, silence_seconds=math.inf)


def _checked(line: KuboConnection, cid: Cid, silence_seconds: float | None = None, **opts: str) -> Block | None:
    try:
        data = line.read("block/get", cid, most=BLOCK_BYTES, silence_seconds=silence_seconds, **opts)
    except KuboRefusedError:
        return None
    if data is None:
        return None
    block = Block(cid, data)
    is_intact(block)  # hashed here, in a thread: a sound block remembers it
    return block


def own_hints(line: KuboConnection) -> tuple[str, ...]:
    """Where the daemon can be reached; what reaches it from other machines stands first."""
    usable = [address for address in ask(line, "id").texts("Addresses") if _HINT.match(address)]
    return tuple(sorted(usable, key=lambda address: address.startswith(("/ip4/127.", "/ip6/::1/")))[:HINTS])
