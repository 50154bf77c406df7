"""One running `listen`: the backlog, then look after look, with the node's feed besides if there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from learnae import Heard, UnavailableError
from learnae_iota.backlog import Backlog
from learnae_iota.feed import Feed
from learnae_iota.looking import Poller, PollResult
from learnae_iota.nodes import Nodes
from learnae_iota.options import IotaAnnouncerOptions
from learnae_iota.pace import PollingPace

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

FEED_LOOK_SECONDS = 10.0  # what the feed has missed


@attrs.define
class Listening:
    nodes: Nodes
    looker: Poller
    deliver: Callable[[Heard], None]
    options: IotaAnnouncerOptions
    feed: Feed | None
    log: FilteringBoundLogger
    _flooded: bool = False

    async def run(self) -> None:
        """Until cancelled. Raises UnavailableError once no node works."""
        await self._hear_backlog()
        outage: UnavailableError | None = None
        async with trio.open_nursery() as nursery:
            if self.feed is not None:
                nursery.start_soon(self.feed.run, self._take)
            try:
                await self._look_again_and_again()
            except UnavailableError as error:  # raised outside of the nursery, which would wrap it
                outage = error
            nursery.cancel_scope.cancel()
        if outage is not None:
            raise outage

    async def _hear_backlog(self) -> None:
        backlog = Backlog(self.looker, self.options.backlog_seconds)
        while not backlog.over:
            catch = await self.nodes.call(backlog.portion)
            await self._deliver(catch.messages, backlog=True)

    async def _look_again_and_again(self) -> None:
        pace = PollingPace(FEED_LOOK_SECONDS if self.feed else self.options.poll_seconds)
        while True:
            began = trio.current_time()
            catch = await self.nodes.call(self.looker.look)
            self._tell_of_floods(catch)
            await self._deliver(catch.older, backlog=True)
            await self._deliver(catch.messages)
            await trio.sleep(pace.pause(bool(catch.messages or catch.older or catch.left), trio.current_time() - began))

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
        """One line when more lies there than a look can take, and one when that is over."""
        flooded = bool(catch.left) or not catch.whole
        if flooded != self._flooded:
            self.log.warning("iota.flood" if flooded else "iota.flood_over", **attrs.asdict(self.looker.round_record))
        self._flooded = flooded
