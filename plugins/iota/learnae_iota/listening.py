"""One running `listen`: the backlog, then look after look, with the node's feed besides if there is one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio

from learnae import Heard, UnavailableError
from learnae_iota.backlog import Backlog
from learnae_iota.feed import Feed
from learnae_iota.line import NodeApi
from learnae_iota.looking import Poller, PollResult
from learnae_iota.node import TangleNode
from learnae_iota.nodes import Nodes
from learnae_iota.options import IotaAnnouncerOptions
from learnae_iota.pace import PollingPace, rest

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

FEED_LOOK_SECONDS = 10.0  # what the feed has missed
OTHERS_PAUSE = 4  # times the longest pause between two looks at the first node: between two at the others
FLOOD_SECONDS = 60.0  # from one flood that is told of to the next
VISIT_SECONDS = 20.0  # of another node, its backlog included; what of that it has not brought by then comes at its next turn


@attrs.define
class Listening:
    nodes: Nodes
    looker: Poller
    deliver: Callable[[Heard], None]
    options: IotaAnnouncerOptions
    feed: Feed | None
    log: FilteringBoundLogger
    _flooded: bool = False
    _told_at: float = -math.inf
    _locks: dict[TangleNode, trio.Lock] = attrs.field(factory=dict)

    async def run(self) -> None:
        """Until cancelled. Raises UnavailableError once no node works."""
        outage: UnavailableError | None = None
        async with trio.open_nursery() as nursery:
            if len(self.nodes.nodes) > 1:
                nursery.start_soon(self._look_at_others)
            try:
                await self._hear_backlog()
                if self.feed is not None:
                    nursery.start_soon(self.feed.run, self._take)
                await self._look_again_and_again()
            except UnavailableError as error:  # raised outside of the nursery, which would wrap it
                outage = error
            nursery.cancel_scope.cancel()
        if outage is not None:
            raise outage

    async def _hear_backlog(self) -> None:
        backlog = Backlog(self.looker, self.options.backlog_seconds)
        while not backlog.over:
            catch = await self._of_first(backlog.portion)
            await self._deliver(catch.messages, backlog=True)

    async def _look_again_and_again(self) -> None:
        pace = PollingPace(FEED_LOOK_SECONDS if self.feed else self.options.poll_seconds)
        while True:
            began = trio.current_time()
            catch = await self._of_first(self.looker.look)
            self._tell_of_floods(catch)
            await self._deliver(catch.older, backlog=True)
            await self._deliver(catch.messages)
            await trio.sleep(pace.pause(bool(catch.messages or catch.older or catch.left), trio.current_time() - began))

    async def _of_first(self, function: Callable[[NodeApi], PollResult]) -> PollResult:
        """Of the first node that works. Raises UnavailableError once none does."""
        while True:
            node = self.nodes.first()
            try:
                async with self._lock(node):
                    return await self.nodes.call_at(node, function)
            except UnavailableError:
                continue  # it is lost now

    async def _of_other(self, node: TangleNode, function: Callable[[NodeApi], PollResult]) -> PollResult:
        """One that cannot be looked at may take what is sent: it is not lost."""
        async with self._lock(node):
            return await node.call(function)

    def _lock(self, node: TangleNode) -> trio.Lock:
        return self._locks.setdefault(node, trio.Lock())

    async def _look_at_others(self) -> None:
        """One after another, in a slower pace: the first may keep back what it likes, and be as slow as it likes."""
        backlogs: dict[TangleNode, Backlog] = {}
        turns = itertools.cycle(self.nodes.nodes)
        while True:
            working = self.nodes.working()
            node = next((one for one in itertools.islice(turns, len(self.nodes.nodes)) if one in working[1:]), None)
            took = 0.0
            if node is not None:
                began = trio.current_time()
                with trio.move_on_after(VISIT_SECONDS), suppress(UnavailableError):
                    await self._visit(node, backlogs.setdefault(node, Backlog(self.looker, self.options.backlog_seconds)))
                took = trio.current_time() - began
            await trio.sleep(rest(OTHERS_PAUSE * self.options.poll_seconds, took))

    async def _visit(self, node: TangleNode, backlog: Backlog) -> None:
        while not backlog.over:
            catch = await self._of_other(node, backlog.portion)
            await self._deliver(catch.messages, backlog=True)
        catch = await self._of_other(node, self.looker.look)
        await self._deliver(catch.older, backlog=True)
        await self._deliver(catch.messages)

    async def _deliver(self, messages: Sequence[bytes], *, backlog: bool = False) -> None:
        """Others get their turn in between."""
        for message in messages:
            self.deliver(Heard(message, backlog))
            await trio.lowlevel.checkpoint()

    def _take(self, hash_: str, transaction: str) -> None:
        message = self.looker.take(hash_, transaction)
        if message is not None:
            self.deliver(Heard(message, backlog=False))

    def _tell_of_floods(self, catch: PollResult) -> None:
        """One line when more lies there than a look can take, and one when that is over. They are few, however often it begins."""
        flooded, now = bool(catch.left) or not catch.whole, trio.current_time()
        if flooded != self._flooded and (self._flooded or now - self._told_at > FLOOD_SECONDS):
            self._flooded = flooded
            self._told_at = now if flooded else self._told_at
            self.log.warning("iota.flood" if flooded else "iota.flood_over", **attrs.asdict(self.looker.round_record))
