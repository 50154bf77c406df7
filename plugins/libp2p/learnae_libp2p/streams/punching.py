"""Two peers behind routers become direct: over the relayed connection they say where others see them, and dial each other at one moment.

What each sends opens its own router for what the other sends. DCUtR does it so (github.com/libp2p/specs, relay/DCUtR.md).
Dialled is only the host at which the relay sees the other end, too: neither of them alone can make anybody dial a third one. Both together
can, if they are one stranger's: so an address at which nobody was met is dialled ever less, as all that others say.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio

from learnae_libp2p.streams.budgets import QuestionPace
from learnae_libp2p.streams.following import Following
from learnae_libp2p.streams.frames import FrameError, FrameKind, FrameReader
from learnae_libp2p.streams.greeting import SwarmProof, greet_as_asker, greet_as_holder
from learnae_libp2p.streams.hearsay import HearsayAccount, TooSoonError
from learnae_libp2p.streams.reachability import Reachability
from learnae_libp2p.streams.short_messages import ShortMessage, receive_message
from learnae_libp2p.streams.transport import Connection, Place, Scope, Stream, StreamClosedError, Transport, UnreachableError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

PUNCH_PROTOCOL = "/learnae/punch/1"
PAUSES = (1.0, 3.0, 10.0, 60.0, 150.0)  # before each of the first tries with one peer: for two minutes routers remember an earlier meeting
AGAIN_SECONDS = 900.0
PUNCH_SECONDS = 5.0
TALK_SECONDS = 15.0
MOST_MET = 4  # addresses
MOST_AT_ONCE = 4
LEAST_SECONDS = 0.9  # between two tries of one peer
FROM_MEETING = "meeting"  # how the account calls what was heard so


@attrs.define(eq=False, kw_only=True)
class HolePuncher:
    """`run` tries with each peer that this one has reached through a relay; `answer` serves those who try."""

    transport: Transport
    proof: SwarmProof
    reachability: Reachability
    log: FilteringBoundLogger
    account: HearsayAccount = attrs.field(factory=HearsayAccount)
    _pace: QuestionPace = attrs.field(factory=lambda: QuestionPace(LEAST_SECONDS))
    _answering: int = 0

    async def run(self) -> None:
        """Until cancelled."""
        following = Following(
            transport=self.transport, wanted=lambda connection: not connection.direct and not connection.inbound, follow=self._follow
        )
        await following.run()

    async def answer(self, stream: Stream) -> None:
        """Serve one try. Raises nothing that who tries could bring about."""
        connection = self.transport.connection(stream.peer)
        if connection is None or connection.direct or self._answering >= MOST_AT_ONCE or not self._pace.may_ask(stream.peer):
            return
        self._answering += 1
        try:
            with trio.fail_after(TALK_SECONDS):
                reader = FrameReader(stream)
                await greet_as_holder(stream, reader, self.proof)
                said = await receive_message(reader, FrameKind.MEET)
                await stream.send_all(self._meeting(connection))
                await receive_message(reader, FrameKind.NOW)
            await self._punch(stream.peer, self._allowed(said.texts, connection), first=False)
            self.log.info("punch.direct", peer=stream.peer)
        except (FrameError, StreamClosedError, UnreachableError, trio.TooSlowError) as error:
            self.log.debug("punch.not_direct", peer=stream.peer, cause=str(error))
        finally:
            self._answering -= 1

    async def _follow(self, peer: str) -> None:
        """Try for as long as it is relayed, more and more rarely."""
        pauses = iter(PAUSES)
        while True:
            await trio.sleep(next(pauses, AGAIN_SECONDS))
            connection = self.transport.connection(peer)
            if connection is not None and not connection.direct:
                await self._try(peer, connection)

    async def _try(self, peer: str, connection: Connection) -> None:
        try:
            stream = await self.transport.open_stream(peer, PUNCH_PROTOCOL)
            try:
                with trio.fail_after(TALK_SECONDS):
                    reader = FrameReader(stream)
                    await greet_as_asker(stream, reader, self.proof)
                    begin = trio.current_time()
                    await stream.send_all(self._meeting(connection))
                    said = await receive_message(reader, FrameKind.MEET)
                    there_and_back = trio.current_time() - begin
                    await stream.send_all(ShortMessage(FrameKind.NOW).framed())
                    await trio.sleep(there_and_back / 2)
                await self._punch(peer, self._allowed(said.texts, connection), first=True)
                self.log.info("punch.direct", peer=peer)
            finally:
                await stream.reset()
        except (FrameError, StreamClosedError, UnreachableError, trio.TooSlowError) as error:
            self.log.debug("punch.not_direct", peer=peer, cause=str(error))

    async def _punch(self, peer: str, places: Sequence[Place], *, first: bool) -> None:
        """Raises UnreachableError."""
        charged = list[Place]()
        for place in places:
            with suppress(TooSoonError):
                self.account.begin(place, FROM_MEETING)
                charged.append(place)
        if not charged:
            raise UnreachableError("nobody was met there, and it is not tried again so soon")
        await self.transport.punch(peer, [place.address for place in charged], first=first, seconds=PUNCH_SECONDS)
        for place in charged:
            self.account.answered(place, FROM_MEETING)

    def _meeting(self, connection: Connection) -> bytes:
        """Where this peer may be met, as others see it; where it listens, if no router is in between. Nothing nearer than the relay.

        Where it could dial nobody from the port at which it listens, its router may have kept that port's number all the same.
        """
        seen, scope = self.reachability.seen, self._scope(connection)
        addresses = list(seen.seen_at or [address for one in seen.every for address in self.transport.outside(one.seen_at)])
        if not seen.behind_router:
            addresses += self.transport.listens_at()
        places = [place for text in addresses if (place := self.transport.place(text)) is not None and place.scope >= scope]
        return ShortMessage(FrameKind.MEET, 0, tuple(dict.fromkeys(place.address for place in places))[:MOST_MET]).framed()

    def _allowed(self, said: Sequence[str], connection: Connection) -> list[Place]:
        """Of what the other end says, what the relay says as well, and is no nearer than the relay. Raises UnreachableError for nothing."""
        there, scope, own = self._place(connection.seen_at), self._scope(connection), set(self.transport.listens_at())
        places = [place for text in said[:MOST_MET] if (place := self._place(text)) is not None and place.address not in own]
        met = [place for place in places if there is not None and place.host == there.host and place.scope >= scope]
        if not met:
            raise UnreachableError("it has said no address at which its relay sees it")
        return met

    def _scope(self, connection: Connection) -> Scope:
        """From how far the relay of this connection is reached: the other end may be no nearer."""
        relay = self.transport.connection(connection.relay) if connection.relay else None
        place = self._place(relay.address) if relay is not None else None
        return place.scope if place is not None else Scope.PUBLIC

    def _place(self, address: str | None) -> Place | None:
        return self.transport.place(address) if address else None
