"""The holder's side of the block protocol: whoever belongs to the swarm gets what is here, in fair turns."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import attrs
import trio

from learnae import Block, Cid, UpdateRejectedError
from learnae.lowlevel import BLOCK_BYTES, MEGABYTE, RunInThread, cid_text
from learnae_libp2p.streams.block_store import BlockStore
from learnae_libp2p.streams.budgets import ByteBudget, FairBudget, RelayedBudgets
from learnae_libp2p.streams.frames import (
    MOST_CIDS,
    Absence,
    FrameError,
    FrameKind,
    FrameReader,
    FrameWriter,
    block_header,
    cids_in,
    frame,
    in_frames,
    to_bits,
)
from learnae_libp2p.streams.greeting import SwarmProof, greet_as_holder
from learnae_libp2p.streams.transport import FAST_WRITE, Stream, StreamClosedError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

BLOCK_PROTOCOL = "/learnae/blocks/1"

MOST_STREAMS, MOST_STREAMS_OF_ONE = 128, 2
STALL_SECONDS = 30.0  # in which a write must be taken
TURN_SECONDS = 60.0  # in which an asker gets its turn
NOT_NOW_SECONDS = 10.0  # who would have to wait longer for our budget asks others meanwhile
ANSWERS_PART = 8  # of an hour's bytes, one part beside them is for answers
ANSWERS_WAITING = 64  # more, and the asker does not read what it asks for
CIDS_PER_SECOND = 4 * MOST_CIDS  # that one asker may ask about
WHOLE_BYTES = 32 * MEGABYTE  # of blocks that are held whole in memory, for all askers together
AT_ONCE = 4  # blocks read in one call in a thread
FIRST_WRITE = 16_384
"""Yamux gives a reader five seconds for each write, once its window of 256 KiB is full: a longer one would ask for a fast line."""

MEASURED_BYTES, FAST_BYTES_PER_SECOND = 1 << 19, 1 << 17
"""Over so many bytes a stream is measured, which is more than a window; from that speed on it gets the longest writes."""


@attrs.define(kw_only=True)
class BlockServer:
    """Serves streams, a bounded number at once and of each peer. Its bounds hold whatever askers do."""

    store: BlockStore
    proof: SwarmProof
    budget: FairBudget
    relayed: RelayedBudgets
    in_thread: RunInThread
    clock: Callable[[], float]
    log: FilteringBoundLogger
    whole_bytes: int = WHOLE_BYTES  # left of what may be held whole
    answers: ByteBudget | None = attrs.field(init=False)  # that do not count in the hour of the blocks
    _streams: dict[ServedStream, trio.CancelScope] = attrs.field(factory=dict)
    _questions: OrderedDict[str, ByteBudget] = attrs.field(factory=OrderedDict)

    def __attrs_post_init__(self) -> None:
        per_hour = self.budget.budget.per_hour
        self.answers = ByteBudget(None, per_hour // ANSWERS_PART, self.clock) if per_hour is not None else None

    async def serve(self, stream: Stream) -> None:
        """Serve one stream to its end. Raises nothing that its asker could bring about."""
        served = ServedStream(server=self, stream=stream, reader=FrameReader(stream), questions=self._questions_of(stream.peer))
        with trio.CancelScope() as scope:
            if not self._let_in(served, scope):
                await stream.reset()
                return
            try:
                await served.run()
            except* (FrameError, UpdateRejectedError) as errors:
                self.log.debug("blocks.asker_refused", asker=stream.peer, cause=str(errors.exceptions[0]))
            except* (StreamClosedError, trio.TooSlowError):
                pass
            finally:
                del self._streams[served]
                await stream.reset()

    @property
    def streams(self) -> int:
        return len(self._streams)

    def _let_in(self, served: ServedStream, scope: trio.CancelScope) -> bool:
        """The oldest of a peer with too many gives way, or one that has nothing to do, or one of a peer with more than this one has."""
        of_one = [other for other in self._streams if other.stream.peer == served.stream.peer]
        if len(of_one) >= MOST_STREAMS_OF_ONE:
            self._streams[of_one[0]].cancel()
        elif len(self._streams) >= MOST_STREAMS:
            given = next((other for other in self._streams if other.idle), None)
            if given is None:
                held = Counter(other.stream.peer for other in self._streams)
                given = next((other for other in self._streams if held[other.stream.peer] > len(of_one) + 1), None)
            if given is None:
                return False
            self._streams[given].cancel()
        self._streams[served] = scope
        return True

    def _questions_of(self, peer: str) -> ByteBudget:
        """One for all streams of a peer; a new stream gives no new budget."""
        budget = self._questions.pop(peer, None) or ByteBudget(CIDS_PER_SECOND, None, self.clock)
        self._questions[peer] = budget
        if len(self._questions) > 4 * MOST_STREAMS:
            self._questions.popitem(last=False)
        return budget


@attrs.define(eq=False, kw_only=True)
class ServedStream:
    """One stream: a task that reads questions, and one that writes answers. What is read is only noted."""

    server: BlockServer
    stream: Stream
    reader: FrameReader
    questions: ByteBudget
    _wanted: OrderedDict[bytes, None] = attrs.field(factory=OrderedDict)
    _answers: deque[bytes] = attrs.field(factory=deque)
    _work: trio.Event = attrs.field(factory=trio.Event)
    _write: int = FIRST_WRITE
    _sent: int = 0
    _sending_seconds: float = 0.0
    _answered: int = 0  # bytes of answers in what is to be written: they do not count in the hour, which is one of blocks
    _writer: FrameWriter = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._writer = FrameWriter(self)
        self._write = self._longest_write(FIRST_WRITE)

    @property
    def _relayed(self) -> ByteBudget | None:
        return self.server.relayed.of(self.peer)

    def _longest_write(self, most: int) -> int:
        budgets = [self.server.budget.budget, *([relayed] if (relayed := self._relayed) is not None else [])]
        return min(most, *(budget.piece() for budget in budgets))

    @property
    def peer(self) -> str:
        return self.stream.peer

    @property
    def idle(self) -> bool:
        return not self._wanted and not self._answers

    async def run(self) -> None:
        """To its end. Raises FrameError, StreamClosedError, TooSlowError in a group."""
        async with trio.open_nursery() as nursery:
            await greet_as_holder(self.stream, self.reader, self.server.proof)
            nursery.start_soon(self._answer)
            await self._listen()
            nursery.cancel_scope.cancel()

    async def _listen(self) -> None:
        """Until the asker says no more."""
        while (header := await self.reader.header()) is not None:
            kind, length = header
            if kind == FrameKind.BLOCK:
                raise FrameError("a block that nobody wanted")
            if kind not in (FrameKind.WANT, FrameKind.ASK, FrameKind.FORGET):
                await self.reader.skip(length)
                self.questions.spend(MOST_CIDS // 16)
            else:
                self._note(FrameKind(kind), await self.reader.body(length))
            if len(self._answers) > ANSWERS_WAITING:
                raise FrameError("it asks on and does not read the answers")
            if (wait := self.questions.wait()) > 0:
                await trio.sleep(wait)

    def _note(self, kind: FrameKind, body: bytes) -> None:
        cids = list(cids_in(body, 4 if kind == FrameKind.ASK else 0))
        self.questions.spend(len(cids) + 16)
        if kind == FrameKind.ASK:
            self._answers.append(frame(FrameKind.HAS, body[:4], to_bits(map(self._has, cids))))
        elif kind == FrameKind.FORGET:
            self._absent([cid for cid in cids if self._wanted.pop(cid, self) is None], Absence.FORGOTTEN)
        else:
            there = {cid: self._has(cid) for cid in cids if cid not in self._wanted}
            self._wanted.update((cid, None) for cid, has in there.items() if has)
            self._absent([cid for cid, has in there.items() if not has], Absence.UNKNOWN)
            if len(self._wanted) > MOST_CIDS:
                raise FrameError(f"more than {MOST_CIDS} blocks wanted at once")
        self._work.set()

    def _has(self, cid: bytes) -> bool:
        """Raises UpdateRejectedError for what is no CID."""
        return self.server.store.has(cid_text(cid))

    def _absent(self, cids: Iterable[bytes], why: Absence) -> None:
        self._answers.extend(in_frames(FrameKind.ABSENT, cids, bytes([why])))

    async def _answer(self) -> None:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while not self.idle:
                while self._answers:
                    self._count_answer(len(self._answers[0]))
                    await self._writer.add(self._answers.popleft(), self._write)
                if self._wanted and self.server.budget.delay(BLOCK_BYTES) > NOT_NOW_SECONDS:
                    self._absent(self._wanted, Absence.NOT_NOW)
                    self._wanted.clear()
                elif self._wanted:
                    await self._send_some()
            await self._writer.flush()

    async def _send_some(self) -> None:
        """Whole blocks where the asker reads fast and there is room for them in memory; else one, piece by piece."""
        room = AT_ONCE * BLOCK_BYTES
        if self._relayed is not None or self._write < FAST_WRITE or self.server.whole_bytes < room or self.server.budget.budget.bounded:
            await self._send_in_pieces(self._wanted.popitem(last=False)[0])
            return
        batch = [self._wanted.popitem(last=False)[0] for _ in range(min(AT_ONCE, len(self._wanted)))]
        self.server.whole_bytes -= room
        try:
            found = await self.server.in_thread(self.server.store.read_all, [cid_text(cid) for cid in batch])
            for cid in batch:
                await self._send_whole(cid, found.get(cid_text(cid)))
        finally:
            self.server.whole_bytes += room

    async def _send_whole(self, cid: bytes, block: Block | None) -> None:
        if block is None:
            self._absent([cid], Absence.UNKNOWN)
            return
        await self._writer.add(block_header(cid, len(block.data)), self._write)
        await self._writer.add(block.data, self._write)

    async def _send_in_pieces(self, cid: bytes) -> None:
        name, sent = cid_text(cid), 0
        length = self.server.store.length(name) or 0
        while sent == 0 or sent < length:
            piece = await self._read_piece(name, sent, min(length - sent, FAST_WRITE))
            if not piece and not sent:
                self._absent([cid], Absence.UNKNOWN)
                return
            if len(piece) != min(length - sent, FAST_WRITE):
                raise StreamClosedError("a block has gone while it was sent")
            if not sent:
                await self._writer.add(block_header(cid, length), self._write)
            await self._writer.add(piece, self._write)
            sent += len(piece)

    async def _read_piece(self, cid: Cid, start: int, length: int) -> bytes:
        return await self.server.in_thread(self.server.store.read_piece, cid, start, length) if length else b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """In its turn. Longer writes where they are taken fast: on a slow line each must be taken in time."""
        with trio.fail_after(TURN_SECONDS):
            await self._take_relayed(len(data))
            beside_hour, self._answered = min(self._answered, len(data)), max(0, self._answered - len(data))
            await self.server.budget.take(self.peer, len(data), beside_hour)
        begin = trio.current_time()
        with trio.fail_after(STALL_SECONDS):
            await self.stream.send_all(data)
        self._sent += len(data)
        self._sending_seconds += trio.current_time() - begin
        if self._sent >= MEASURED_BYTES:
            fast = self._sent >= FAST_BYTES_PER_SECOND * self._sending_seconds
            self._write = self._longest_write(FAST_WRITE if fast else FIRST_WRITE)
            self._sent, self._sending_seconds = 0, 0.0

    def _count_answer(self, length: int) -> None:
        """They have an hour of their own, an eighth of that of the blocks: who only asks and asks spends the other one as well."""
        if (answers := self.server.answers) is not None and answers.wait(length) <= 0:
            answers.spend(length)
            self._answered += length

    async def _take_relayed(self, count: int) -> None:
        while (budget := self._relayed) is not None:
            if (wait := budget.wait(count)) <= 0:
                budget.spend(count)
                return
            await trio.sleep(wait)

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        return await self.stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.stream.aclose()

    async def reset(self) -> None:
        await self.stream.reset()
