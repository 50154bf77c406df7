"""The asker's end of one block stream: it is kept open, and many fetches may ask over it."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

import attrs
import trio

from learnae_libp2p.streams.frames import (
    CID_BYTES,
    MOST_CIDS,
    Absence,
    FrameError,
    FrameKind,
    FrameReader,
    cids_in,
    frame,
    from_bits,
    in_frames,
)
from learnae_libp2p.streams.greeting import SwarmProof, greet_as_asker
from learnae_libp2p.streams.silence import MOST_TIMES, own_lateness
from learnae_libp2p.streams.transport import Stream, StreamClosedError

STALL_SECONDS = 20.0
SILENCE_SECONDS, LEAST_BYTES = 15.0, 1024
"""Who has something to send and sends less than so much in so long is silent: a byte a second is no progress."""

BUSY_BYTES = 1 << 18  # of other things in that time: then what was asked for may only be behind them
MOST_UNASKED_BYTES = 1 << 20
MOST_QUESTIONS = 16
QUESTION_CIDS = 256


@attrs.define(eq=False)
class _Question:
    cids: Sequence[bytes]
    answered: trio.Event = attrs.field(factory=trio.Event)
    has: frozenset[bytes] = frozenset()


@attrs.define(eq=False, kw_only=True)
class HolderStream:
    """One holder, as long as its stream lives. What comes goes to `took` and `lacking`; that it has ended, to `ended`.

    `came` is told of all bytes while they come. `took` takes the buffer over; the reading task waits for it, so it must be quick.
    """

    stream: Stream
    proof: SwarmProof
    came: Callable[[HolderStream, int], None]
    took: Callable[[HolderStream, bytes, bytearray], Awaitable[None]]
    lacking: Callable[[HolderStream, Sequence[bytes], bool], None]  # whether it has them, and gives none for now
    ended: Callable[[HolderStream, str], None]
    outstanding: dict[bytes, float] = attrs.field(factory=dict)  # when each was asked for
    closed: bool = False
    _reader: FrameReader = attrs.field(init=False)
    _out: deque[bytes] = attrs.field(factory=deque)
    _work: trio.Event = attrs.field(factory=trio.Event)
    _questions: dict[bytes, _Question] = attrs.field(factory=dict)
    _numbers: itertools.count[int] = attrs.field(factory=itertools.count)
    _forgotten: dict[bytes, bool] = attrs.field(factory=dict)  # not answered yet; whether they are wanted again
    _unasked: int = 0
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    arrived: Callable[[], int] = lambda: 0  # over its whole connection, in bytes
    _mark: tuple[float, int, int] = (0.0, 0, 0)  # since when silence is looked for, and what had come until then: here, and in all
    _looked_at: float = 0.0
    _excused: int = 0

    def __attrs_post_init__(self) -> None:
        self._reader = FrameReader(self.stream, partial(self.came, self))

    @property
    def peer(self) -> str:
        return self.stream.peer

    async def greet(self) -> None:
        """Raises FrameError, TooSlowError, StreamClosedError."""
        await greet_as_asker(self.stream, self._reader, self.proof)

    async def run(self) -> None:
        """Until it ends, or somebody ends it."""
        why = "it was closed"
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read()
                    nursery.cancel_scope.cancel()
        except* (StreamClosedError, trio.TooSlowError):
            why = "its stream was lost"
        except* FrameError as errors:
            why = f"it sent nonsense: {errors.exceptions[0]}"
        finally:
            self.closed = True
            for question in self._questions.values():
                question.answered.set()
            self.ended(self, why)
            await self.stream.reset()

    def end(self) -> None:
        self.closed = True
        self._scope.cancel()

    def want(self, cids: Iterable[bytes]) -> None:
        """Ask for these blocks, but for those that were asked for before."""
        now = trio.current_time()
        if not self.outstanding:
            self._begin_to_look(now)
        new = list[bytes]()
        for cid in cids:
            if cid in self._forgotten:
                self._forgotten[cid] = True
            elif cid not in self.outstanding:
                new.append(cid)
                self.outstanding[cid] = now
        self._send(in_frames(FrameKind.WANT, new))

    def forget(self, cids: Iterable[bytes]) -> None:
        """Say that nobody waits for these any more. They stay outstanding until they come, or are said to be absent."""
        gone = [cid for cid in cids if cid in self.outstanding and cid not in self._forgotten]
        self._forgotten.update((cid, False) for cid in gone)
        self._send(in_frames(FrameKind.FORGET, gone))

    async def ask(self, cids: Sequence[bytes]) -> frozenset[bytes]:
        """Which of these, at most `QUESTION_CIDS`, it has. None of them where the stream ends, or where it has not answered others."""
        if self.closed or len(self._questions) >= MOST_QUESTIONS:
            return frozenset()
        number = (next(self._numbers) % (1 << 32)).to_bytes(4, "big")
        question = self._questions[number] = _Question(cids[:QUESTION_CIDS])
        self._send([frame(FrameKind.ASK, number, *question.cids)])
        await question.answered.wait()  # where nobody waits any longer, the place stays taken until it is answered
        return question.has

    def is_silent(self) -> bool:
        """Whether it has sent next to nothing for a while, though it has something to send. To be called each second.

        Seconds in which this process was late do not count. Where other things came from it, it is waited for a few times.
        """
        now, (since, before, all_before) = trio.current_time(), self._mark
        since += own_lateness(self._looked_at, now)
        self._mark, self._looked_at = (since, before, all_before), now
        if not self.outstanding:
            self._begin_to_look(now)
        elif now - since >= SILENCE_SECONDS:
            came, busy = self._reader.received - before, self.arrived() - all_before
            self._begin_to_look(now)
            self._excused = self._excused + 1 if came < LEAST_BYTES and busy - came >= BUSY_BYTES else 0
            return came < LEAST_BYTES and not 0 < self._excused < MOST_TIMES
        return False

    def _begin_to_look(self, now: float) -> None:
        self._mark, self._looked_at = (now, self._reader.received, self.arrived()), now

    def _send(self, frames: Iterable[bytes]) -> None:
        self._out.extend(frames)
        self._work.set()

    async def _write(self) -> None:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while self._out:
                with trio.fail_after(STALL_SECONDS):
                    await self.stream.send_all(self._out.popleft())

    async def _read(self) -> None:
        while (header := await self._reader.header()) is not None:
            kind, length = header
            if kind == FrameKind.BLOCK:
                await self._take_block(length)
            elif kind == FrameKind.ABSENT:
                self._note_absent(await self._reader.body(length))
            elif kind == FrameKind.HAS:
                self._note_answer(await self._reader.body(length))
            else:
                self._count_unasked(length + 1024)
                await self._reader.skip(length)

    async def _take_block(self, length: int) -> None:
        if length < CID_BYTES:
            raise FrameError("a block without a CID")
        cid = await self._reader.body(CID_BYTES)
        if cid not in self.outstanding:
            self._count_unasked(length)
            await self._reader.skip(length - CID_BYTES)
            return
        data = bytearray(length - CID_BYTES)
        await self._reader.into(memoryview(data))
        del self.outstanding[cid]
        self._forgotten.pop(cid, None)
        await self.took(self, cid, data)

    def _note_absent(self, body: bytes) -> None:
        said = list(cids_in(body, 1))
        known = [cid for cid in said if self.outstanding.pop(cid, None) is not None]
        self._count_unasked(CID_BYTES * (len(said) - len(known)))
        forgotten = {cid: again for cid in known if (again := self._forgotten.pop(cid, None)) is not None}
        if body[:1] == bytes([Absence.FORGOTTEN]):
            self.want(cid for cid, again in forgotten.items() if again)
        elif known:
            self.lacking(self, known, body[:1] == bytes([Absence.NOT_NOW]))

    def _note_answer(self, body: bytes) -> None:
        question = self._questions.pop(body[:4], None)
        if question is None:
            self._count_unasked(1024)
            return
        flags = from_bits(body[4:], len(question.cids))
        question.has = frozenset(cid for cid, has in zip(question.cids, flags, strict=True) if has)
        question.answered.set()

    def _count_unasked(self, count: int) -> None:
        self._unasked += count
        if self._unasked > MOST_UNASKED_BYTES:
            raise FrameError("it sends what nobody asked for")


MOST_OUTSTANDING = MOST_CIDS // 2
"""Blocks that one stream is asked for at once: twice as many, and the holder ends it."""
