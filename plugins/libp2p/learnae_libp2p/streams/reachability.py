"""What a peer learns of routers before it: from where others see it, and whether somebody reaches it there.

Those who are connected are asked. Who is asked tries nothing but the host from which the asker's own connection comes: two addresses, and
not often. No single answer decides: an address is one's own where two have reached it, and who says that a peer cannot be reached is
outvoted by half of the others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

import attrs
import trio

from learnae_libp2p.streams.budgets import AnswerPlaces
from learnae_libp2p.streams.following import Following
from learnae_libp2p.streams.frames import FrameError, FrameKind, FrameReader
from learnae_libp2p.streams.greeting import SwarmProof, greet_as_asker, greet_as_holder
from learnae_libp2p.streams.outside_views import OutsideView, OutsideViews
from learnae_libp2p.streams.short_messages import ShortMessage, receive_message
from learnae_libp2p.streams.transport import Connection, Place, Stream, StreamClosedError, Transport, UnreachableError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

OUTSIDE_PROTOCOL = "/learnae/outside/1"
FIRST_SECONDS, AGAIN_SECONDS, FAILED_SECONDS = 0.3, 600.0, 20.0
MOST_OBSERVERS = 8
MOST_TRIED = 2  # addresses, for one asker
TRY_SECONDS, ANSWER_SECONDS = 3.0, 20.0
LEAST_SECONDS = 30.0  # between two answers to one peer, in the long run
BURST = 3.0
MOST_ANSWERED = 4  # at once
MOST_NOTED = 1024


@attrs.define(eq=False, kw_only=True)
class Reachability:
    """`run` asks those who are connected, `answer` serves those who ask. `news` is called when the outlook is another one."""

    transport: Transport
    proof: SwarmProof
    news: Callable[[], None]
    rng: Random
    log: FilteringBoundLogger
    _views: dict[str, OutsideView] = attrs.field(factory=dict)
    _allowances: OrderedDict[str, tuple[float, float]] = attrs.field(factory=OrderedDict)  # of questions that are left, and when
    _answers: AnswerPlaces = attrs.field(factory=lambda: AnswerPlaces(MOST_ANSWERED, TRY_SECONDS + 1.0))
    _told: str = ""

    @property
    def seen(self) -> OutsideViews:
        """What those have said who are here, or were when somebody was."""
        own = {place.host for text in self.transport.listens_at() if (place := self.transport.place(text)) is not None}
        return OutsideViews(tuple(self._views.values()), frozenset(own))

    async def run(self) -> None:
        """Until cancelled."""
        following = Following(
            transport=self.transport,
            wanted=lambda connection: connection.direct,
            follow=self._follow,
            looked=self._forget_others,
            most=MOST_OBSERVERS,
            rng=self.rng,
        )
        await following.run()

    async def answer(self, stream: Stream) -> None:
        """Serve one question. Raises nothing that its asker could bring about."""
        connection = self.transport.connection(stream.peer)
        if connection is None or not connection.direct or not self._may_ask(stream.peer):
            return
        try:
            with trio.fail_after(ANSWER_SECONDS):
                async with self._answers.place():
                    await self._answer(stream, connection)
        except* StreamClosedError:  # how a question ends
            pass
        except* (FrameError, UnreachableError, trio.TooSlowError) as errors:
            self.log.debug("outside.asker_refused", asker=stream.peer, cause=str(errors.exceptions[0]))

    async def _answer(self, stream: Stream, connection: Connection) -> None:
        reader = FrameReader(stream)
        await greet_as_holder(stream, reader, self.proof)
        await receive_message(reader, FrameKind.LOOK)
        here = self.transport.place(connection.address)
        if here is None:
            return
        await stream.send_all(ShortMessage(FrameKind.SEEN, 0, (here.address,)).framed())
        asked = await receive_message(reader, FrameKind.TRY)
        answered = 0
        async with trio.open_nursery() as nursery:

            async def look(number: int, address: str) -> None:
                nonlocal answered
                with trio.move_on_after(TRY_SECONDS):
                    answered |= (await self.transport.answers(stream.peer, address)) << number

            for number, address in enumerate(asked.texts[:MOST_TRIED]):
                place = self.transport.place(address)
                if place is not None and place.host == here.host and place.peer in (None, stream.peer):
                    nursery.start_soon(look, number, place.address)
        await stream.send_all(ShortMessage(FrameKind.TRIED, answered).framed())
        await stream.aclose()
        await stream.receive_some(1)  # until it has all

    def _forget_others(self, here: set[str]) -> None:
        """What those have seen who are gone counts until somebody who is here has said more."""
        if here & self._views.keys():
            for gone in self._views.keys() - here:
                del self._views[gone]
        self._tell()

    def _may_ask(self, peer: str) -> bool:
        """A few at once, as from one that starts again, and then one in `LEAST_SECONDS`."""
        now = trio.current_time()
        left, at = self._allowances.pop(peer, (BURST, now))
        left = min(BURST, left + (now - at) / LEAST_SECONDS)
        self._allowances[peer] = (left - 1 if left >= 1 else left, now)
        if len(self._allowances) > MOST_NOTED:
            self._allowances.popitem(last=False)
        return left >= 1

    async def _follow(self, peer: str) -> None:
        """Ask one for as long as it is connected."""
        pause = FIRST_SECONDS
        while True:
            await trio.sleep(pause)
            connection = self.transport.connection(peer)
            if connection is not None and connection.direct:
                pause = AGAIN_SECONDS if await self._ask(peer, connection) else FAILED_SECONDS

    async def _ask(self, peer: str, connection: Connection) -> bool:
        try:
            stream = await self.transport.open_stream(peer, OUTSIDE_PROTOCOL)
            try:
                seen = await look(stream, self.proof, self.transport.place, self.transport.outside, mapped=connection.from_listening_port)
            finally:
                await stream.reset()
        except (FrameError, StreamClosedError, UnreachableError, trio.TooSlowError) as error:
            self.log.debug("outside.not_told", holder=peer, cause=str(error))
            return False
        self._views[peer] = seen
        self._tell()
        return True

    def _tell(self) -> None:
        seen = self.seen
        if seen.in_words != self._told:
            self._told = seen.in_words
            self.log.info("libp2p.outlook", outlook=seen.in_words, remedy=seen.remedy)
            self.news()


async def look(
    stream: Stream, proof: SwarmProof, place_of: Callable[[str], Place | None], outside: Callable[[str], Sequence[str]], *, mapped: bool
) -> OutsideView:
    """Ask whoever serves this stream where this end is seen, and whether it is reached there. `outside` says at which addresses.

    Raises FrameError, StreamClosedError, TooSlowError.
    """
    with trio.fail_after(ANSWER_SECONDS):
        reader = FrameReader(stream)
        await greet_as_asker(stream, reader, proof)
        await stream.send_all(ShortMessage(FrameKind.LOOK).framed())
        said = await receive_message(reader, FrameKind.SEEN)
        if not said.texts or (place := place_of(said.texts[0])) is None:
            raise FrameError("it says no address")
        candidates = tuple(outside(place.address))[:MOST_TRIED]
        await stream.send_all(ShortMessage(FrameKind.TRY, 0, candidates).framed())
        tried = await receive_message(reader, FrameKind.TRIED)
    reached = tuple(address for number, address in enumerate(candidates) if tried.number >> number & 1)
    return OutsideView(seen_at=place.address, host=place.host, reached=reached, mapped=mapped)
