"""The announcer `iota`: each message is a transaction on a tangle of Hornet nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import ClassVar, Self

import trio

from learnae import Announcer, Context, Heard, UnavailableError
from learnae_iota.building import Builder
from learnae_iota.feed import Feed
from learnae_iota.listening import Listening
from learnae_iota.looking import PollCounts, Poller
from learnae_iota.node import TangleNode
from learnae_iota.nodes import Nodes
from learnae_iota.options import IotaAnnouncerOptions
from learnae_iota.outbox import Outbox
from learnae_iota.places import PURPOSE, Places
from learnae_iota.posting import Make, NodeDeclinedError, post
from learnae_iota.remarks import Remarks
from learnae_iota.transactions import MESSAGE_BYTES
from learnae_iota.witnesses import Posted, Witnesses

SEND_SECONDS = 8.0  # the core cuts off, and then leaves alone, what takes 10


class IotaAnnouncer(Announcer):
    """Sends each message as a transaction on a tangle of Hornet nodes. It opens without a node: messages then wait for one."""

    Options = IotaAnnouncerOptions
    max_bytes: ClassVar[int] = MESSAGE_BYTES

    def __init__(self, options: IotaAnnouncerOptions, context: Context) -> None:
        super().__init__(options, context)
        self.round_record = PollCounts()
        nodes = [TangleNode(address, options.silence_seconds, context.in_thread) for address in dict.fromkeys(options.nodes)]
        self._nodes = Nodes(nodes, context.log)
        self._witnesses = Witnesses(self._nodes, context.rng)
        self._outbox: Outbox
        self._feed = Feed(options.feed) if options.feed else None
        self._secret = context.secret(PURPOSE)
        self._stack = AsyncExitStack()

    async def check(self) -> Sequence[str]:
        """For `learnae check`: what is fine about nodes, feed and proof of work. Raises ConfigError with what must be mended."""
        return await Remarks(self.options, self.context).collect()

    async def __aenter__(self) -> Self:
        builder = await self.context.in_thread(Builder.load, self.options.weight_magnitude)
        make = builder.make_at_node if self.options.proof_of_work == "node" else builder.make
        self._outbox = Outbox(partial(self._send, make), self.options.repeat_seconds)
        nursery = await self._stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(self._nodes.watch)
        nursery.start_soon(self._outbox.run)
        nursery.start_soon(self._witnesses.run)
        self._stack.callback(nursery.cancel_scope.cancel)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()
        self._nodes.close()

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        if len(message) > self.max_bytes:
            raise ValueError(f"a message of {len(message)} bytes; at most {self.max_bytes} fit")
        with trio.move_on_after(SEND_SECONDS) as limit:
            await self._outbox.put((channel, replaces), message)
        if limit.cancelled_caught:
            raise UnavailableError(f"not sent within {SEND_SECONDS:.0f} s; it is kept, and still tried")

    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        looker = Poller([self._places(channel) for channel in channels], self.round_record, self.options.nodes[0])
        listening = Listening(self._nodes, looker, deliver, self.options, self._feed, self.context.log)
        await listening.run()

    async def _send(self, make: Make, channel: str, message: bytes) -> None:
        """In one thread: ask for parents, work, and hand over."""
        again = partial(post, message=message, places=self._places(channel), make=make)
        try:
            address, transaction = await self._nodes.call(lambda line: (line.address, again(line)))
        except NodeDeclinedError as error:
            raise UnavailableError(str(error)) from error
        self._witnesses.sent(Posted(address, transaction, trio.current_time(), again))

    def _places(self, channel: str) -> Places:
        return Places.of(channel, self._secret)
