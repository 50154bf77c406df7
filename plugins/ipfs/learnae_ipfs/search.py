"""Blocks out of a daemon: what it has itself, then what others have."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Container, Iterable
from functools import partial

import attrs
import trio

from learnae import Block, Cid, UnavailableError, UpdateRejectedError
from learnae.lowlevel import BLOCK_BYTES, is_intact, parse_cid
from learnae_ipfs.answers import ask
from learnae_ipfs.daemon import LINES, Daemon
from learnae_ipfs.line import KuboConnection, KuboRefusedError
from learnae_ipfs.meetings import HINTS, is_hint
from learnae_ipfs.turns import LONGEST_SECONDS, SEARCHES, TURN_SECONDS, SearchCall, Turn

TRIES = 2
READS = LINES - 2  # blocks at once, out of the daemon
FINDS = SEARCHES // 2  # from others, where nobody else searches: see SearchTurns
Read = Callable[[KuboConnection, Cid], Block | None]
Take = Callable[[deque[Cid], trio.CancelScope], Awaitable[None]]


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
    _turns: dict[Cid, float] = attrs.field(factory=dict)  # how long the last search for it might find nothing
    _call: SearchCall = attrs.field(factory=SearchCall)
    _scope: trio.CancelScope | None = None
    _silence_seconds: float = math.inf

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
                await self._run(_found, cids, silence_seconds)

    async def beside(self, meeting: Callable[[], Awaitable[bool]], search: Callable[[], Awaitable[None]]) -> None:
        """Search while others are met, and once more if that ended before somebody was met."""
        met = over = False

        async def meet() -> None:
            nonlocal met, over
            met, over = await meeting(), True
            if met:
                self._wait_longer()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(meet)
            await search()
            late = not over
            if not self.wanted or self.outage:
                nursery.cancel_scope.cancel()
        if late and met and self.wanted and not self.outage:
            self.sought.clear()
            await search()

    def _wait_longer(self) -> None:
        """Somebody was met who may have what is missing."""
        if self._scope is not None and self._scope.deadline < math.inf:
            self._scope.deadline = trio.current_time() + self._silence_seconds

    async def _run(self, read: Read, cids: Iterable[Cid], silence_seconds: float = math.inf) -> None:
        wanted = deque(cid for cid in cids if _is_ours(cid))
        self._silence_seconds = silence_seconds
        take, most = (self._find, FINDS) if read is _found else (self._read, READS)
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            for _ in range(min(most, len(wanted))):
                nursery.start_soon(self._until_outage, take, wanted, nursery.cancel_scope)
        self._scope = None

    async def _until_outage(self, take: Take, left: deque[Cid], scope: trio.CancelScope) -> None:
        try:
            while left:
                await take(left, scope)
        except UnavailableError as error:
            self.outage = error
            scope.cancel()

    async def _read(self, left: deque[Cid], scope: trio.CancelScope) -> None:
        cid = left.popleft()
        self._came(cid, await self.daemon.call(lambda line: _read(line, cid)), scope)

    async def _find(self, left: deque[Cid], scope: trio.CancelScope) -> None:
        """In one turn. What was looked for when it ended comes last, and may take longer then: on a slow line a block does.

        The silence begins when the first block is really asked for: others may be searching before.
        """
        asked: list[Cid] = []

        async def search(turn: Turn) -> None:
            while left:
                asked[:] = [cid := left.popleft()]
                self._turns[cid] = min(2 * self._turns[cid], LONGEST_SECONDS) if cid in self._turns else TURN_SECONDS
                turn.renew(self._turns[cid])
                self.sought.add(cid)
                if scope.deadline == math.inf:
                    scope.deadline = trio.current_time() + self._silence_seconds
                self._came(cid, await self.daemon.call(partial(_found, cid=cid)), scope)
                asked.clear()

        if not await self.daemon.searches.run(self._call, search):
            left += asked

    def _came(self, cid: Cid, block: Block | None, scope: trio.CancelScope) -> None:
        if block is not None and not block.sound:
            self.damaged.add(cid)
        elif block is not None and cid in self.wanted:
            del self.wanted[cid]
            scope.deadline = trio.current_time() + self._silence_seconds
            self.deliver(block)


def _is_ours(cid: Cid) -> bool:
    """Others, and the same written otherwise, a daemon might know too; their bytes could not be told right from wrong."""
    try:
        return parse_cid(cid) == cid
    except UpdateRejectedError:
        return False


def _read(line: KuboConnection, cid: Cid) -> Block | None:
    """A block that the daemon has itself, checked here: in a thread, others go on meanwhile."""
    return _checked(line, cid, offline="true")


def _found(line: KuboConnection, cid: Cid) -> Block | None:
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
    usable = [address for address in ask(line, "id").texts("Addresses") if is_hint(address)]
    return tuple(sorted(usable, key=lambda address: address.startswith(("/ip4/127.", "/ip6/::1/")))[:HINTS])
