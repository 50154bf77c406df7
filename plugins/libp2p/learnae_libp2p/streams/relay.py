"""Carries bytes between two peers that do not reach each other, for any peer that asks: a little, for a while, and sealed for others.

Who cannot be dialled holds a reservation here; who wants to reach it asks for a circuit, which is one stream from either of them. Over it
the two encrypt from end to end and prove their keys, so a relay sees nothing and can pretend nothing. It dials nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

import attrs
import trio

from learnae_libp2p.streams.budgets import ByteBudget, QuestionPace
from learnae_libp2p.streams.circuit_addresses import is_direct
from learnae_libp2p.streams.frames import FrameError, FrameKind, FrameReader
from learnae_libp2p.streams.greeting import SwarmProof, greet_as_holder
from learnae_libp2p.streams.short_messages import ShortMessage, receive_message
from learnae_libp2p.streams.transport import Place, Stream, StreamClosedError, Transport, UnreachableError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

RELAY_PROTOCOL = "/learnae/relay/1"
RELAYED_PROTOCOL = "/learnae/relayed/1"
MOST_RESERVATIONS = 64
MOST_CIRCUITS, MOST_CIRCUITS_OF_ONE = 16, 4
RESERVATION_SECONDS = 3600.0  # then places are given away anew
CIRCUIT_SECONDS = 3600.0
IDLE_SECONDS = 60.0  # the two ask each other for a heartbeat every ten
ASK_SECONDS, STALL_SECONDS = 15.0, 30.0
LEAST_SECONDS = 0.2  # between two questions of one peer
PIECE_BYTES = 1 << 14
LEAST_BYTES_PER_MINUTE = 1 << 16


class Refusal(IntEnum):
    """Why a relay does not do what it is asked."""

    NO_PLACE = 1  # for one more
    NOT_HERE = 2  # who is asked for has no reservation


@attrs.define(eq=False, kw_only=True)
class CircuitRelay:
    """`serve` serves those who ask. `bytes_per_minute` holds for each circuit, both directions together."""

    transport: Transport
    proof: SwarmProof
    bytes_per_minute: int
    clock: Callable[[], float]
    log: FilteringBoundLogger
    _reserved: dict[str, trio.CancelScope] = attrs.field(factory=dict)
    _circuits: list[tuple[str, str]] = attrs.field(factory=list)
    _pace: QuestionPace = attrs.field(factory=lambda: QuestionPace(LEAST_SECONDS))

    def reserved(self) -> Sequence[str]:
        """Who can be reached through this peer now."""
        return tuple(self._reserved)

    def circuits(self) -> Sequence[tuple[str, str]]:
        """For each two that are connected through it, who has asked and who was asked for."""
        return tuple(self._circuits)

    async def serve(self, stream: Stream) -> None:
        """One question: a reservation, which lasts as long as the stream, or a circuit, which is the stream.

        Raises nothing that its asker could bring about.
        """
        if not is_direct(self.transport, stream.peer) or not self._pace.may_ask(stream.peer):
            return
        try:
            reader = FrameReader(stream)
            with trio.fail_after(ASK_SECONDS):
                await greet_as_holder(stream, reader, self.proof)
                asked = await receive_message(reader, FrameKind.RESERVE, FrameKind.CONNECT)
            if asked.kind == FrameKind.RESERVE:
                await self._reserve(stream)
            else:
                await self._connect(stream, reader, asked)
        except* (StreamClosedError, UnreachableError):  # how each ends
            pass
        except* (FrameError, trio.TooSlowError) as errors:
            self.log.debug("relay.ended", asker=stream.peer, cause=str(errors.exceptions[0]))

    async def _reserve(self, stream: Stream) -> None:
        """A new stream of a peer takes the place of its old one."""
        if (older := self._reserved.pop(stream.peer, None)) is not None:
            older.cancel()
        if len(self._reserved) >= MOST_RESERVATIONS:
            await _refuse(stream, Refusal.NO_PLACE)
            return
        with trio.move_on_after(RESERVATION_SECONDS) as scope:
            self._reserved[stream.peer] = scope
            try:
                await stream.send_all(ShortMessage(FrameKind.RESERVED, self.bytes_per_minute).framed())
                if await stream.receive_some(1):
                    raise FrameError("it says more than a reservation needs")
            finally:
                if self._reserved.get(stream.peer) is scope:
                    del self._reserved[stream.peer]

    async def _connect(self, stream: Stream, reader: FrameReader, asked: ShortMessage) -> None:
        if len(asked.texts) != 1:
            raise FrameError("a circuit to nobody, or to several")
        source, target = stream.peer, asked.texts[0]
        if (refusal := self._refusal(source, target)) is not None:
            await _refuse(stream, refusal)
            return
        circuit = source, target
        self._circuits.append(circuit)
        other: Stream | None = None
        try:
            with trio.fail_after(ASK_SECONDS):
                other = await self.transport.open_stream(target, RELAYED_PROTOCOL)
                others = FrameReader(other)
                await other.send_all(
                    ShortMessage(FrameKind.INCOMING, self.bytes_per_minute, (source, *self._seen(source, target))).framed()
                )
                await receive_message(others, FrameKind.ACCEPTED)
                await stream.send_all(ShortMessage(FrameKind.CONNECTED, self.bytes_per_minute, self._seen(target, source)).framed())
            await self._carry((stream, reader.rest()), (other, others.rest()))
        finally:
            self._circuits.remove(circuit)
            if other is not None:
                await other.reset()

    def _refusal(self, source: str, target: str) -> Refusal | None:
        if target not in self._reserved or target == source or not is_direct(self.transport, target):
            return Refusal.NOT_HERE
        of_each = Counter(peer for circuit in self._circuits for peer in circuit)
        full = len(self._circuits) >= MOST_CIRCUITS or max(of_each[source], of_each[target]) >= MOST_CIRCUITS_OF_ONE
        return Refusal.NO_PLACE if full else None

    def _seen(self, peer: str, by: str) -> tuple[str, ...]:
        """From where this peer's connection comes, for one who may reach it there: others may meet it, if a router lets them."""
        there, here = self._place(peer), self._place(by)
        return (there.address,) if there is not None and here is not None and there.scope >= here.scope else ()

    def _place(self, peer: str) -> Place | None:
        connection = self.transport.connection(peer)
        return self.transport.place(connection.address) if connection is not None else None

    async def _carry(self, one: tuple[Stream, bytes], other: tuple[Stream, bytes]) -> None:
        """Until one of the two ends. Who sends too much is read more slowly."""
        budget = ByteBudget(max(LEAST_BYTES_PER_MINUTE, self.bytes_per_minute) // 60, None, self.clock)
        carried_at = trio.current_time()

        async def carry(source: Stream, data: bytes | bytearray, target: Stream) -> None:
            nonlocal carried_at
            while data := data or await source.receive_some(PIECE_BYTES):
                carried_at = trio.current_time()
                while (wait := budget.wait(len(data))) > 0:  # noqa: ASYNC110  # the other direction may spend what there is first
                    await trio.sleep(wait)
                budget.spend(len(data))
                with trio.fail_after(STALL_SECONDS):
                    await target.send_all(data)
                data = b""
            nursery.cancel_scope.cancel()

        with trio.move_on_after(CIRCUIT_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(carry, one[0], one[1], other[0])
                nursery.start_soon(carry, other[0], other[1], one[0])
                while (left := carried_at + IDLE_SECONDS - trio.current_time()) > 0:  # noqa: ASYNC110  # all that comes puts it off
                    await trio.sleep(left)
                nursery.cancel_scope.cancel()


async def _refuse(stream: Stream, refusal: Refusal) -> None:
    with trio.fail_after(ASK_SECONDS):
        await stream.send_all(ShortMessage(FrameKind.REFUSED, refusal).framed())
        await stream.aclose()
        await stream.receive_some(1)  # until it has all
