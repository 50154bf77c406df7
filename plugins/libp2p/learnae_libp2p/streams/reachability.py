"""What a peer learns of routers before it: from where others see it, and whether somebody reaches it there.

Those who are connected are asked. Who is asked tries nothing but the host from which the asker's own connection comes: two addresses, and
not often. No single answer decides: an address is one's own where two have reached it, and who says that a peer cannot be reached is
outvoted by half of the others.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING

import attrs
import trio

from learnae_libp2p.streams.circuit_addresses import connection_to
from learnae_libp2p.streams.following import Following
from learnae_libp2p.streams.frames import FrameError, FrameKind, FrameReader
from learnae_libp2p.streams.greeting import SwarmProof, greet_as_asker, greet_as_holder
from learnae_libp2p.streams.short_messages import ShortMessage, receive_message
from learnae_libp2p.streams.transport import Connection, Stream, StreamClosedError, Transport, UnreachableError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

OUTSIDE_PROTOCOL = "/learnae/outside/1"
FIRST_SECONDS, AGAIN_SECONDS, FAILED_SECONDS = 0.3, 600.0, 60.0
MOST_OBSERVERS = 8
MOST_TRIED = 2  # addresses, for one asker
TRY_SECONDS, ANSWER_SECONDS = 3.0, 20.0
LEAST_SECONDS = 30.0  # between two answers to one peer
MOST_ANSWERED = 4  # at once
MOST_NOTED = 1024
MOST_OUTSIDE = 3
AGREEING = 2


class Outlook(Enum):
    """How the world sees this peer."""

    UNKNOWN = "nobody has said yet whether this peer can be dialled from outside"
    REACHABLE = "others can dial this peer"
    UNREACHABLE = "nobody can dial this peer: it dials others, and is reached through those"


@attrs.frozen(kw_only=True)
class OutsideView:
    """What one other has seen."""

    seen_at: str
    host: str
    reached: Sequence[str]  # of the addresses that it has tried
    mapped: bool  # it is where what comes to the port at which this peer listens would go out


@attrs.define(eq=False, kw_only=True)
class Reachability:
    """`run` asks those who are connected, `answer` serves those who ask. `news` is called when the outlook is another one."""

    transport: Transport
    proof: SwarmProof
    news: Callable[[], None]
    log: FilteringBoundLogger
    _views: dict[str, OutsideView] = attrs.field(factory=dict)
    _answered_at: OrderedDict[str, float] = attrs.field(factory=OrderedDict)
    _answering: int = 0
    _told: str = ""

    def outlook(self) -> Outlook:
        """Whether this peer can be dialled, by what those say who see it from farthest away."""
        counted = self._counted()
        if not counted:
            return Outlook.UNKNOWN
        reached = sum(bool(seen.reached) for seen in counted)
        return Outlook.REACHABLE if 2 * reached >= len(counted) else Outlook.UNREACHABLE

    def behind_router(self) -> bool:
        """Whether some router writes another address on what this peer sends."""
        return bool(self._translated())

    def symmetric(self) -> bool | None:
        """Whether that router takes another port for each whom this peer speaks to; None where one alone has said its port."""
        ports: dict[str, list[str]] = {}
        for seen in self._translated():
            if seen.mapped:
                ports.setdefault(seen.host, []).append(seen.seen_at)
        several = [set(one) for one in ports.values() if len(one) > 1]
        return any(len(one) > 1 for one in several) if several else None

    def outside(self) -> Sequence[str]:
        """Where two others and more have reached this peer, and it does not know so by itself."""
        reached = Counter(address for seen in self._translated() for address in set(seen.reached))
        return [address for address, count in reached.most_common(MOST_OUTSIDE) if count >= AGREEING]

    def seen_at(self) -> Sequence[str]:
        """Where it may be met by those who dial it while it dials them, the likeliest first."""
        mapped = Counter(seen.seen_at for seen in self._views.values() if seen.mapped)
        return [address for address, _ in mapped.most_common(MOST_OUTSIDE)]

    def in_words(self) -> str:
        """For people, with what they can do."""
        outlook, hosts = self.outlook(), ", ".join(sorted({seen.host for seen in self._counted()})[:MOST_OUTSIDE])
        if outlook is Outlook.UNKNOWN:
            return f"{outlook.value}: it is connected to nobody who could"
        words = f"{outlook.value}; they see it at {hosts}"
        if outlook is Outlook.REACHABLE:
            return words
        if not self.behind_router():
            return f"{words}. Let the port at which it listens through this machine's firewall"
        kind = ", which takes another port for each connection: to others behind a router it stays relayed" if self.symmetric() else ""
        return f"{words}, behind a router{kind}. Forward the port at which it listens in that router, to be dialled"

    async def run(self) -> None:
        """Until cancelled."""
        following = Following(
            transport=self.transport,
            wanted=lambda connection: connection.direct,
            follow=self._follow,
            looked=self._forget_others,
            most=MOST_OBSERVERS,
        )
        await following.run()

    async def answer(self, stream: Stream) -> None:
        """Serve one question. Raises nothing that its asker could bring about."""
        connection = connection_to(self.transport, stream.peer)
        if connection is None or not connection.direct or self._answering >= MOST_ANSWERED or not self._may_ask(stream.peer):
            return
        self._answering += 1
        try:
            with trio.fail_after(ANSWER_SECONDS):
                await self._answer(stream, connection)
        except* StreamClosedError:  # how a question ends
            pass
        except* (FrameError, UnreachableError, trio.TooSlowError) as errors:
            self.log.debug("outside.asker_refused", asker=stream.peer, cause=str(errors.exceptions[0]))
        finally:
            self._answering -= 1

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
        now = trio.current_time()
        if now - self._answered_at.get(peer, -LEAST_SECONDS) < LEAST_SECONDS:
            return False
        self._answered_at[peer] = now
        self._answered_at.move_to_end(peer)
        if len(self._answered_at) > MOST_NOTED:
            self._answered_at.popitem(last=False)
        return True

    async def _follow(self, peer: str) -> None:
        """Ask one for as long as it is connected."""
        pause = FIRST_SECONDS
        while True:
            await trio.sleep(pause)
            connection = connection_to(self.transport, peer)
            if connection is not None and connection.direct:
                pause = AGAIN_SECONDS if await self._ask(peer, connection) else FAILED_SECONDS

    async def _ask(self, peer: str, connection: Connection) -> bool:
        try:
            stream = await self.transport.open_stream(peer, OUTSIDE_PROTOCOL)
            try:
                with trio.fail_after(ANSWER_SECONDS):
                    reader = FrameReader(stream)
                    await greet_as_asker(stream, reader, self.proof)
                    await stream.send_all(ShortMessage(FrameKind.LOOK).framed())
                    seen = await receive_message(reader, FrameKind.SEEN)
                    place = self.transport.place(seen.texts[0]) if seen.texts else None
                    if place is None:
                        return False
                    candidates = tuple(self.transport.outside(place.address))[:MOST_TRIED]
                    await stream.send_all(ShortMessage(FrameKind.TRY, 0, candidates).framed())
                    tried = await receive_message(reader, FrameKind.TRIED)
            finally:
                await stream.reset()
        except (FrameError, StreamClosedError, UnreachableError, trio.TooSlowError) as error:
            self.log.debug("outside.not_told", holder=peer, cause=str(error))
            return False
        reached = tuple(address for number, address in enumerate(candidates) if tried.number >> number & 1)
        self._views[peer] = OutsideView(seen_at=place.address, host=place.host, reached=reached, mapped=connection.from_listening_port)
        self._tell()
        return True

    def _tell(self) -> None:
        words = self.in_words()
        if words != self._told:
            self._told = words
            self.log.info("libp2p.outlook", outlook=words)
            self.news()

    def _own_hosts(self) -> set[str]:
        return {place.host for text in self.transport.listens_at() if (place := self.transport.place(text)) is not None}

    def _translated(self) -> list[OutsideView]:
        own = self._own_hosts()
        return [seen for seen in self._views.values() if seen.host not in own]

    def _counted(self) -> list[OutsideView]:
        """Neighbours on one's own side of a router see nothing of it."""
        return self._translated() or list(self._views.values())
