"""Peers that are connected tell each other a few of those that they know, so that no peer is special: who introduced others may leave.

Told is only what was proven: an address that answered, or one at the host from which a peer's own connection comes. Who dials out alone
is told of as somebody who is reached through those with whom it has a reservation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING

import attrs
import trio

from learnae_libp2p.streams.address_book import AddressBook
from learnae_libp2p.streams.budgets import AnswerPlaces, QuestionPace
from learnae_libp2p.streams.circuit_addresses import CircuitAddress, place_at
from learnae_libp2p.streams.following import Following
from learnae_libp2p.streams.frames import FrameError, FrameKind, FrameReader
from learnae_libp2p.streams.greeting import StrangerError, SwarmProof, greet_as_asker, greet_as_holder
from learnae_libp2p.streams.peer_lists import (
    MOST_LIST_BYTES,
    MOST_LISTED,
    MOST_LISTED_ADDRESSES,
    ListedPeer,
    list_frame,
    read_list,
)
from learnae_libp2p.streams.redialling import ENOUGH
from learnae_libp2p.streams.told_peers import ToldPeers
from learnae_libp2p.streams.transport import Connection, Place, Scope, Stream, StreamClosedError, Transport, UnreachableError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

PEERS_PROTOCOL = "/learnae/peers/1"
FIRST_SECONDS = (0.0, 1.0, 3.0, 10.0, 30.0)  # before each of the first questions to one peer
AGAIN_SECONDS = 120.0
ANSWER_SECONDS = 15.0
LEAST_SECONDS = 0.3  # between two answers to one peer
MOST_ANSWERED = 32  # at once
RECENT_SECONDS = 3600.0  # who is not connected and was reached since is told, too


@attrs.define(eq=False, kw_only=True)
class PeerExchange:
    """`run` asks whoever is connected, `answer` serves those who ask. `news` is called when the book knows more."""

    transport: Transport
    proof: SwarmProof
    book: AddressBook
    told: ToldPeers
    rng: Random
    news: Callable[[], None]
    log: FilteringBoundLogger
    own_addresses: Callable[[], Sequence[str]] = lambda: ()  # where others have reached this peer, and those of its reservations
    reserved: Callable[[], Sequence[str]] = lambda: ()  # who is reached through this peer
    _said: dict[str, Sequence[str]] = attrs.field(factory=dict)  # by connected peers, of themselves
    _strangers: set[str] = attrs.field(factory=set)  # connected peers that have answered without a proof
    _pace: QuestionPace = attrs.field(factory=lambda: QuestionPace(LEAST_SECONDS))
    _answers: AnswerPlaces = attrs.field(factory=lambda: AnswerPlaces(MOST_ANSWERED))

    async def run(self) -> None:
        """Until cancelled."""
        await Following(transport=self.transport, wanted=lambda connection: True, follow=self._follow, looked=self._forget_others).run()

    async def answer(self, stream: Stream) -> None:
        """Serve one question. Raises nothing that its asker could bring about."""
        if not self._pace.may_ask(stream.peer):
            return
        with trio.move_on_after(ANSWER_SECONDS):
            async with self._answers.place():
                await self._answer(stream)

    async def _answer(self, stream: Stream) -> None:
        try:
            with trio.fail_after(ANSWER_SECONDS):
                reader = FrameReader(stream)
                await greet_as_holder(stream, reader, self.proof)
                said = await _receive(reader)
                self._take([one for one in said if one.peer == stream.peer], stream.peer)
                await stream.send_all(list_frame(self._list_for(stream.peer, MOST_LISTED)))
                await stream.aclose()
                if await stream.receive_some(1):  # until it has all
                    raise FrameError("it says more than it is asked for")
        except StreamClosedError:  # how a question ends
            pass
        except (FrameError, trio.TooSlowError) as error:
            self.log.debug("peers.asker_refused", asker=stream.peer, cause=str(error))

    def _forget_others(self, here: set[str]) -> None:
        for gone in self._said.keys() - here:
            del self._said[gone]
        self._strangers &= here

    def is_stranger(self, peer: str) -> bool:
        """Whether this peer is connected and of another swarm, or has another key, as far as was asked."""
        return peer in self._strangers

    async def _follow(self, peer: str) -> None:
        """Ask a peer for as long as it is connected, soon again at first: others come to it at the same moment."""
        pauses = iter(FIRST_SECONDS)
        while True:
            await trio.sleep(self._pause(pauses) * self.rng.uniform(0.7, 1.3))
            await self._ask(peer)

    def _pause(self, pauses: Iterator[float]) -> float:
        """The first question tells who asks, and is asked in any case."""
        seconds = next(pauses, AGAIN_SECONDS)
        return seconds if seconds == FIRST_SECONDS[0] or len(self.transport.connections()) < ENOUGH else AGAIN_SECONDS

    async def _ask(self, peer: str) -> None:
        try:
            with trio.fail_after(ANSWER_SECONDS):
                stream = await self.transport.open_stream(peer, PEERS_PROTOCOL)
                try:
                    reader = FrameReader(stream)
                    await greet_as_asker(stream, reader, self.proof)
                    self._strangers.discard(peer)
                    await stream.send_all(list_frame(self._list_for(peer, 1)))
                    self._take(await _receive(reader), peer)
                finally:
                    await stream.reset()
        except (FrameError, StreamClosedError, UnreachableError, trio.TooSlowError) as error:
            if isinstance(error, StrangerError) and self.transport.connection(peer) is not None:
                self._strangers.add(peer)
            self.log.debug("peers.not_told", holder=peer, cause=str(error))

    def _take(self, listed: Sequence[ListedPeer], teller: str) -> None:
        """What a peer has said of itself is told to others later, if it is where its connection comes from."""
        if (connection := self.transport.connection(teller)) is None:
            return
        here = self._place(connection.address)
        for one in listed:
            if one.peer == teller and here is not None:
                places = [place for text in one.addresses if (place := self._place(text)) is not None]
                self._said[teller] = [place.address for place in places if place.host == here.host and place.peer in (None, teller)]
        self.told.take(listed, connection)
        self.news()

    def _list_for(self, peer: str, most: int) -> list[ListedPeer]:
        """Oneself, and a few others that this peer may reach, at random; those who are connected come first."""
        connection = self.transport.connection(peer)
        there = self._place(connection.address) if connection is not None else None
        if connection is None or there is None:
            return [ListedPeer(self.transport.peer, ())]
        told = [*self.own_addresses(), *self.transport.listens_at()]
        own = [place for text in told if (place := self._place(text)) is not None and place.host != f"p2p/{peer}"]
        own.sort(key=lambda place: place.host != connection.own_host)  # others have only seen that one
        listed = [ListedPeer(self.transport.peer, _fit(own, there.scope))]
        connected, others = self._proven()
        for known in (connected, others):
            names = sorted(known.keys() - {peer, self.transport.peer})
            for name in self.rng.sample(names, len(names)):
                if len(listed) < most and (addresses := _fit(known[name], there.scope)):
                    listed.append(ListedPeer(name, addresses))
        return listed

    def _proven(self) -> tuple[dict[str, list[Place]], dict[str, list[Place]]]:
        """Where those are who are connected, and those who were reached not long ago."""
        connected = {one.peer: self._addresses_of(one) for one in self.transport.connections()}
        since = self.book.now() - RECENT_SECONDS
        others = {
            known.peer: known.addresses[:1]
            for known in self.book.peers()
            if known.peer not in connected and known.reached_at is not None and known.reached_at > since
        }
        return self._places(connected), self._places(others)

    def _addresses_of(self, connection: Connection) -> Sequence[str]:
        if connection.peer in self.reserved():
            return (*self._said.get(connection.peer, ()), str(CircuitAddress(self.transport.peer, connection.peer)))
        dialled = not connection.inbound and not connection.punched
        return (connection.address,) if dialled else self._said.get(connection.peer, ())

    def _place(self, address: str) -> Place | None:
        return place_at(self.transport, address)

    def _places(self, known: Mapping[str, Sequence[str]]) -> dict[str, list[Place]]:
        return {peer: [place for text in texts if (place := self._place(text)) is not None] for peer, texts in known.items()}


async def _receive(reader: FrameReader) -> list[ListedPeer]:
    """Raises FrameError, StreamClosedError."""
    header = await reader.header()
    if header is None or header[0] != FrameKind.PEERS or header[1] > MOST_LIST_BYTES:
        raise FrameError("it does not tell peers as this version does")
    return read_list(await reader.body(header[1]))


def _fit(places: Sequence[Place], scope: Scope) -> list[str]:
    """Addresses that somebody can use who is himself at an address of this scope."""
    return [place.address for place in places if place.scope >= scope][:MOST_LISTED_ADDRESSES]
