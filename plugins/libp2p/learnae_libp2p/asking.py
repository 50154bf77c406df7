"""The backlog protocol: a newcomer asks whoever it is connected to for the newest message of each sender. Gossipsub has no past."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence

import attrs
import cbor2
import trio

from learnae_libp2p.messages import FRAME_BYTES, TOPIC_CHARACTERS, KeptMessages
from learnae_libp2p.streams.budgets import AnswerPlaces
from learnae_libp2p.streams.transport import Stream, StreamClosedError, Transport, UnreachableError

PROTOCOL = "/learnae/backlog/1"
SILENCE_SECONDS = 5.0
WHOLE_SECONDS = 20.0
MOST_TOPICS = 32
REQUEST_BYTES = MOST_TOPICS * (TOPIC_CHARACTERS + 8)
WIRE_BYTES = FRAME_BYTES + 1024  # with names, key and signature
MOST_ANSWERS = 2048
ANSWER_SECONDS = 5.0  # between two answers to one peer, in the long run
BURST = 6.0
SERVED_AT_ONCE = 32
READ_BYTES = 1 << 16


class _Frames:
    """Frames with their length before them. Raises ValueError for one that is too long, StreamClosedError."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def next(self, most: int) -> bytes | None:
        """None at the end."""
        while True:
            if len(self._buffer) >= 4:
                (length,) = struct.unpack_from(">I", self._buffer)
                if length > most:
                    raise ValueError(f"a frame of {length} bytes; at most {most} are read")
                if len(self._buffer) >= 4 + length:
                    frame = bytes(self._buffer[4 : 4 + length])
                    del self._buffer[: 4 + length]
                    return frame
            with trio.fail_after(SILENCE_SECONDS):
                more = await self._stream.receive_some(READ_BYTES)
            if not more:
                return None
            self._buffer += more


def _framed(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


@attrs.define
class BacklogServer:
    """Gives what is kept to whoever asks, not too often."""

    kept: KeptMessages
    _allowance: dict[str, tuple[float, float]] = attrs.field(factory=dict)
    _answers: AnswerPlaces = attrs.field(factory=lambda: AnswerPlaces(SERVED_AT_ONCE))

    async def serve(self, stream: Stream) -> None:
        """One question, one answer. What it raises ends the stream."""
        with trio.move_on_after(WHOLE_SECONDS):
            question = await _Frames(stream).next(REQUEST_BYTES)
            if question is None or not self._may_ask(stream.peer):
                return
            topics = _topics(question)
            async with self._answers.place():
                await self._send(stream, topics)
                await stream.aclose()
                while await stream.receive_some(READ_BYTES):  # until it has hung up: a reset could overtake what was sent
                    pass

    async def _send(self, stream: Stream, topics: Sequence[str]) -> None:
        answer = bytearray()
        for signed in self.kept.of(topics):
            answer += _framed(signed.wire)
            if len(answer) >= READ_BYTES:
                await stream.send_all(answer)
                answer.clear()
        await stream.send_all(answer + _framed(b""))

    def _may_ask(self, peer: str) -> bool:
        now = trio.current_time()
        if len(self._allowance) > 4 * MOST_ANSWERS:
            self._allowance = {name: entry for name, entry in self._allowance.items() if now - entry[1] < BURST * ANSWER_SECONDS}
        left, at = self._allowance.get(peer, (BURST, now))
        left = min(BURST, left + (now - at) / ANSWER_SECONDS)
        self._allowance[peer] = (left - 1 if left >= 1 else left, now)
        return left >= 1


async def ask(transport: Transport, peer: str, topics: Iterable[str], take: Callable[[bytes], bool]) -> bool:
    """Give `take` each message that this peer keeps, until it is false; whether it gave all of them. Raises nothing but Cancelled."""
    stream: Stream | None = None
    try:
        with trio.fail_after(WHOLE_SECONDS):
            stream = await transport.open_stream(peer, PROTOCOL)
            await stream.send_all(_framed(cbor2.dumps(list(topics)[:MOST_TOPICS])))
            frames = _Frames(stream)
            for _ in range(MOST_ANSWERS + 1):
                wire = await frames.next(WIRE_BYTES)
                if not wire:
                    return wire is not None
                if not take(wire):
                    return True
                await trio.lowlevel.checkpoint()
    except (StreamClosedError, UnreachableError, ValueError, trio.TooSlowError):
        return False
    finally:
        if stream is not None:
            await stream.reset()
    return False


def _topics(frame: bytes) -> tuple[str, ...]:
    """Raises ValueError for what is no list of topics."""
    found = cbor2.loads(frame)
    if not isinstance(found, list) or len(found) > MOST_TOPICS or not all(isinstance(topic, str) for topic in found):
        raise ValueError("no list of topics")
    return tuple(found)
