"""The announcer `gossipsub`: a topic for each channel, over direct connections. This module is light: the library comes with the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, ClassVar, Self

import attrs
import trio

from learnae import Announcer, Context, Heard, PeerConnection, Problem, Standing, UnavailableError
from learnae_libp2p.addresses import counted_with
from learnae_libp2p.admission import MessageAdmission
from learnae_libp2p.asking import PROTOCOL, BacklogServer, ask
from learnae_libp2p.check import HostCheck
from learnae_libp2p.connecting import Connecting, first_connection
from learnae_libp2p.host import Libp2pHost
from learnae_libp2p.libp2p_transport import Libp2pTransport
from learnae_libp2p.messages import MESSAGE_BYTES, KeptMessages, Signed, frame_of, topic_of
from learnae_libp2p.options import GossipsubOptions

if TYPE_CHECKING:
    from learnae_libp2p.gossip import BoundedPubsub, Bringer
    from learnae_libp2p.running import RunningHost

SEND_SECONDS = 8.0  # the core cuts off, and then leaves alone, what takes 10
LOOK_SECONDS = 3.0  # how long the first look at the backlog of others may hold back what is live
MOST_CHANNELS = 32
MOST_HELD = 4096
PAUSES = (3.0, 10.0)  # before somebody who did not answer is asked again


@attrs.define(eq=False)
class Audience:
    """One call of `listen`. Until its first look is over, what is live waits, so that old messages come before new ones."""

    topics: dict[str, str]
    deliver: Callable[[Heard], None]
    looking: bool = True
    _held: dict[tuple[str, bytes, bytes, int], Signed] = attrs.field(factory=dict)

    def live(self, signed: Signed) -> None:
        if not self.looking:
            self.deliver(Heard(signed.message, backlog=False))
        elif len(self._held) < MOST_HELD:
            self._held[(*signed.place, signed.number)] = signed

    def backlog(self, signed: Signed) -> None:
        self._held.pop((*signed.place, signed.number), None)
        self.deliver(Heard(signed.message, backlog=True))

    def looked(self) -> None:
        self.looking = False
        for signed in self._held.values():
            self.deliver(Heard(signed.message, backlog=False))
        self._held.clear()


class GossipsubAnnouncer(Announcer):
    """Whoever is connected hears; newcomers are given the newest of each sender by whom they connect to."""

    Options = GossipsubOptions
    max_bytes: ClassVar[int] = MESSAGE_BYTES

    def __init__(self, options: GossipsubOptions, context: Context) -> None:
        super().__init__(options, context)
        self.host = context.share(Libp2pHost)
        self.host.configure(options, context, "announcer")
        self.transport = Libp2pTransport(self.host)
        self.connecting = context.share(Connecting)
        self.admission = MessageAdmission(first_look=context.first_look)
        self.kept = KeptMessages(context.clock)
        self._server = BacklogServer(self.kept)
        self._gossip: BoundedPubsub | None = None
        self._topics: dict[str, str] = {}
        self._listening: Audience | None = None
        self._asked: set[str] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.transport.serve(PROTOCOL, self._server.serve)
            nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(nursery.cancel_scope.cancel)
            await stack.enter_async_context(self.host.with_part(self._part))
            nursery.start_soon(self.host.serve)
            await self.host.ready()
            nursery.start_soon(self.connecting.serve, self.host)
            await first_connection(self.host)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def check(self) -> Sequence[str | Problem]:
        return await self.context.share(HostCheck).check("announcer", self.host, self.context)

    def connections(self) -> Sequence[PeerConnection]:
        """Of the host, which a storage may share: it tells of the same ones."""
        return self.connecting.connections()

    def addresses(self) -> Sequence[str]:
        """What others write into `peers`."""
        return self.transport.local_addresses()

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        if len(message) > self.max_bytes:
            raise ValueError(f"a message of {len(message)} bytes; at most {self.max_bytes} fit")
        with trio.move_on_after(SEND_SECONDS):
            await self.host.ready()
            if (gossip := self._gossip) is not None:
                await gossip.drained()
                await gossip.publish(topic_of(channel), frame_of(message, replaces))
                return
        raise UnavailableError(f"the libp2p host does not run: {self.host.cause or 'it is being built'}")

    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        wanted = {topic_of(channel): channel for channel in channels}
        self._topics |= wanted
        if len(self._topics) > MOST_CHANNELS:
            raise UnavailableError(f"more than {MOST_CHANNELS} channels")
        self._listening = listening = Audience(wanted, deliver)
        try:
            await self._subscribe()
            for signed in self.kept.of(tuple(wanted)):
                listening.backlog(signed)
            self._asked.clear()
            with trio.move_on_after(LOOK_SECONDS):
                async with trio.open_nursery() as first_look:
                    self._ask_new(first_look, pauses=())
            listening.looked()
            async with trio.open_nursery() as nursery:
                while True:
                    news = self.host.news
                    self._ask_new(nursery)
                    await news.wait()
        finally:
            if self._listening is listening:
                self._listening = None

    async def _part(self, running: RunningHost, *, task_status: trio.TaskStatus[None]) -> None:
        """Gossipsub on this host, for as long as it lives."""
        from learnae_libp2p.gossip import open_gossip  # with the library

        async with open_gossip(running.host, self.admission, self._hear) as gossip:
            self._gossip = gossip
            try:
                self._asked.clear()
                await self._subscribe()
                task_status.started()
                await gossip.manager.wait_finished()
            finally:
                self._gossip = None

    async def _subscribe(self) -> None:
        """A topic stays subscribed: who leaves one is not let into its mesh again for a while."""
        if (gossip := self._gossip) is not None:
            for topic in self._topics:
                await gossip.subscribe(topic)

    def _hear(self, signed: Signed, bringer: Bringer) -> None:
        """A message by gossip, or of our own. One that came as backlog is no news.

        Another one is, also with a lower number: its sender's clock may have been set back, and the core knows what is old.
        """
        if signed in self.kept:
            return
        self.kept.add(signed, bringer.host, bringer.standing)
        if (listening := self._listening) is not None and signed.topic in listening.topics:
            listening.live(signed)

    def _ask_new(self, nursery: trio.Nursery, pauses: Sequence[float] = PAUSES) -> None:
        """Ask whoever was not asked since he is connected."""
        here = {connection.peer for connection in self.transport.connections()}
        self._asked &= here
        for peer in here - self._asked:
            self._asked.add(peer)
            nursery.start_soon(self._ask, peer, pauses)

    async def _ask(self, peer: str, pauses: Sequence[float]) -> None:
        from learnae_libp2p.gossip import as_said, verified  # with the library

        host = self._host_of(peer)

        def take(wire: bytes) -> bool:
            signed, listening = as_said(wire), self._listening
            if signed is not None and listening is not None and signed.topic in listening.topics and signed not in self.kept:
                standing = self.admission.standing(signed.message, signed.sender, peer, host, kept=True)
                if standing >= Standing.STRANGER and not verified(wire):
                    self.admission.note_foreign(peer)
                elif standing >= Standing.STRANGER and self.kept.add(signed, host, standing):
                    listening.backlog(signed)
            return not self.admission.is_foreign(peer)

        for pause in (0.0, *pauses):
            await trio.sleep(pause)
            if peer not in self._asked or await ask(self.transport, peer, tuple(self._topics), take):
                return

    def _host_of(self, peer: str) -> str:
        """From which it is connected."""
        return counted_with(next((one.address for one in self.transport.connections() if one.peer == peer), ""))
