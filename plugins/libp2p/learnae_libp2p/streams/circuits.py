"""How a peer that nobody can dial is reached all the same: it holds reservations with a few that it has dialled.

Others come through those. No relay is special: where one goes, another is asked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

import attrs
import trio

from learnae_libp2p.streams.address_book import AddressBook
from learnae_libp2p.streams.circuit_addresses import CircuitAddress, is_direct, read_circuit
from learnae_libp2p.streams.frames import FrameError, FrameKind, FrameReader
from learnae_libp2p.streams.greeting import SwarmProof, greet_as_asker
from learnae_libp2p.streams.relay import LEAST_BYTES_PER_MINUTE, RELAY_PROTOCOL, Refusal
from learnae_libp2p.streams.short_messages import ShortMessage, receive_message
from learnae_libp2p.streams.transport import Circuit, Connection, Scope, Stream, StreamClosedError, Transport, UnreachableError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

WANTED_RELAYS = 2
LOOK_SECONDS = 30.0
ASK_SECONDS = 15.0
LOST_SECONDS, REFUSED_SECONDS = 2.0, 120.0  # before a relay is asked again; where it does not answer, twice as long each time
MOST_RESTING = 256
MOST_INCOMING = 16  # that come through relays, at once


class RefusedError(UnreachableError):
    """The relay has said so."""


class CarriedStream:
    """A stream behind what was read of it already. `ended` is set when nobody uses it any more."""

    def __init__(self, stream: Stream, first: bytes) -> None:
        self._stream = stream
        self._first = first
        self.ended = trio.Event()

    @property
    def peer(self) -> str:
        """Who carries it."""
        return self._stream.peer

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        if self._first:
            await trio.lowlevel.checkpoint()
            taken, self._first = self._first[:max_bytes], self._first[max_bytes:]
            return taken
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def reset(self) -> None:
        self.ended.set()
        await self._stream.reset()


@attrs.define(eq=False, kw_only=True)
class Circuits:
    """`run` holds reservations while they are `needed`; `accept` serves those who come; `dial` goes through somebody else's."""

    transport: Transport
    proof: SwarmProof
    book: AddressBook
    needed: Callable[[], bool]
    rng: Random
    log: FilteringBoundLogger
    wanted: int = WANTED_RELAYS
    _relays: dict[str, bool] = attrs.field(factory=dict)  # whether they have agreed
    _rests: OrderedDict[str, float] = attrs.field(factory=OrderedDict)
    _failures: OrderedDict[str, float] = attrs.field(factory=OrderedDict)  # how long each rested that gave no answer
    _incoming: int = 0
    _changed: trio.Event = attrs.field(factory=trio.Event)

    def addresses(self) -> Sequence[str]:
        """Where others reach this peer through those who have agreed."""
        return [str(CircuitAddress(relay, self.transport.peer)) for relay, agreed in self._relays.items() if agreed]

    def look_again(self) -> None:
        """A connection has come or gone, or what is needed is another thing."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        self.transport.watch(self.look_again)
        while True:
            async with trio.open_nursery() as nursery:
                while self.needed():
                    self._changed = trio.Event()
                    for relay in self._candidates()[: max(0, self.wanted - len(self._relays))]:
                        self._relays[relay] = False
                        nursery.start_soon(self._hold, relay)
                    await self._wait()
                nursery.cancel_scope.cancel()
            while not self.needed():
                self._changed = trio.Event()
                await self._wait()

    async def _wait(self) -> None:
        with trio.move_on_after(LOOK_SECONDS if not self._rests else LOST_SECONDS):
            await self._changed.wait()

    def _candidates(self) -> list[str]:
        """Whom this peer has dialled itself, so that others may, too; those whom most can reach come first."""
        now = trio.current_time()
        for relay in [relay for relay, until in self._rests.items() if until <= now]:
            del self._rests[relay]
        dialled = [one for one in self.transport.connections() if one.direct and not one.inbound and not one.punched]
        free = [one for one in dialled if one.peer not in self._rests and one.peer not in self._relays]
        self.rng.shuffle(free)
        return [one.peer for one in sorted(free, key=self._scope, reverse=True)]

    def _scope(self, connection: Connection) -> Scope:
        place = self.transport.place(connection.address)
        return place.scope if place is not None else Scope.LOOPBACK

    async def _hold(self, relay: str) -> None:
        rest = min(REFUSED_SECONDS, 2 * self._failures.pop(relay, LOST_SECONDS / 2))
        try:
            stream, reader = await self._ask(relay, ShortMessage(FrameKind.RESERVE), FrameKind.RESERVED)
            try:
                self._relays[relay], rest = True, LOST_SECONDS
                self.log.info("relay.reserved", relay=relay)
                await reader.header()
            finally:
                await stream.reset()
        except (FrameError, StreamClosedError, UnreachableError) as error:
            if isinstance(error, RefusedError):
                rest = REFUSED_SECONDS
            elif not self._relays[relay]:
                self._failures[relay] = rest
            self.log.debug("relay.not_reserved", relay=relay, cause=str(error))
        finally:
            del self._relays[relay]
            self._rests[relay] = trio.current_time() + rest
            for noted in (self._rests, self._failures):
                if len(noted) > MOST_RESTING:
                    noted.popitem(last=False)
            self._changed.set()

    async def dial(self, circuit: CircuitAddress) -> bool:
        """Returns when its peer is connected; whether it is by this circuit. Raises UnreachableError."""
        if self.transport.connection(circuit.peer) is not None:
            return False
        await self._reach(circuit.relay)
        stream, reader, said = await self._asked(circuit.relay, ShortMessage(FrameKind.CONNECT, 0, (circuit.peer,)), FrameKind.CONNECTED)
        await self._adopt(_circuit(circuit, stream, reader, said, said.texts), dialled=True)
        return True

    async def accept(self, stream: Stream) -> None:
        """Serve one who comes through a relay that has agreed. Raises nothing that it could bring about."""
        if not self._relays.get(stream.peer) or self._incoming >= MOST_INCOMING:
            return
        self._incoming += 1
        try:
            reader = FrameReader(stream)
            with trio.fail_after(ASK_SECONDS):
                said = await receive_message(reader, FrameKind.INCOMING)
            found = read_circuit(str(CircuitAddress(stream.peer, said.texts[0]))) if said.texts else None
            if found is None or is_direct(self.transport, found.peer):
                return
            await stream.send_all(ShortMessage(FrameKind.ACCEPTED).framed())
            carried = CarriedStream(stream, reader.rest())
            await self._adopt(attrs.evolve(_circuit(found, stream, reader, said, said.texts[1:]), stream=carried), dialled=False)
            await carried.ended.wait()
        except (FrameError, StreamClosedError, UnreachableError, trio.TooSlowError) as error:
            self.log.debug("relay.nobody_came", relay=stream.peer, cause=str(error))
        finally:
            self._incoming -= 1

    async def _reach(self, relay: str) -> None:
        """Only one that has been reached before is dialled for this: others may say any name."""
        if is_direct(self.transport, relay):
            return
        known = self.book.get(relay)
        addresses = [address for address in known.addresses if read_circuit(address) is None] if known is not None else []
        if known is None or known.reached_at is None or not addresses:
            raise UnreachableError("its relay is not connected")
        await self.transport.connect(relay, addresses)

    async def _adopt(self, circuit: Circuit, *, dialled: bool) -> None:
        try:
            with trio.fail_after(ASK_SECONDS):
                await self.transport.adopt(circuit, dialled=dialled)
        except trio.TooSlowError as error:
            await circuit.stream.reset()
            raise UnreachableError("nobody shook hands through the relay") from error
        except BaseException:
            await circuit.stream.reset()
            raise

    async def _ask(self, relay: str, question: ShortMessage, answer: FrameKind) -> tuple[Stream, FrameReader]:
        stream, reader, _ = await self._asked(relay, question, answer)
        return stream, reader

    async def _asked(self, relay: str, question: ShortMessage, answer: FrameKind) -> tuple[Stream, FrameReader, ShortMessage]:
        """Raises UnreachableError."""
        stream = await self.transport.open_stream(relay, RELAY_PROTOCOL)
        try:
            with trio.fail_after(ASK_SECONDS):
                reader = FrameReader(stream)
                await greet_as_asker(stream, reader, self.proof)
                await stream.send_all(question.framed())
                said = await receive_message(reader, answer, FrameKind.REFUSED)
            if said.kind == FrameKind.REFUSED:
                raise RefusedError("its relay has no place" if said.number == Refusal.NO_PLACE else "its relay does not have it")
        except BaseException as error:
            await stream.reset()
            if isinstance(error, (FrameError, StreamClosedError, trio.TooSlowError)):
                raise UnreachableError(f"its relay gives no answer: {error}") from error
            raise
        return stream, reader, said


def _circuit(address: CircuitAddress, stream: Stream, reader: FrameReader, said: ShortMessage, seen_at: Sequence[str]) -> Circuit:
    return Circuit(
        peer=address.peer,
        relay=address.relay,
        stream=CarriedStream(stream, reader.rest()),
        bytes_per_minute=max(said.number, LEAST_BYTES_PER_MINUTE),
        seen_at=seen_at[0] if seen_at else None,
    )
