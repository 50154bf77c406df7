"""Streams to holders, each kept open, and which peers are not asked for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from learnae_libp2p.streams.asking import HolderStream
from learnae_libp2p.streams.frames import FrameError
from learnae_libp2p.streams.greeting import SwarmProof
from learnae_libp2p.streams.serving import BLOCK_PROTOCOL
from learnae_libp2p.streams.silence import arrived_from
from learnae_libp2p.streams.transport import StreamClosedError, Transport, UnreachableError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

OPEN_SECONDS = 10.0
MOST_OPEN = 128
MOST_RESTING = 1000


@attrs.define(eq=False, kw_only=True)
class Holders:
    """Opens a stream to a peer that is connected, once for all who ask it. `nursery` runs the streams."""

    transport: Transport
    proof: SwarmProof
    log: FilteringBoundLogger
    came: Callable[[HolderStream, int], None]
    took: Callable[[HolderStream, bytes, bytearray], Awaitable[None]]
    lacking: Callable[[HolderStream, Sequence[bytes], bool], None]
    lost: Callable[[HolderStream, str], None]
    nursery: trio.Nursery | None = None
    _streams: OrderedDict[str, HolderStream] = attrs.field(factory=OrderedDict)
    _opening: dict[str, trio.Lock] = attrs.field(factory=dict)
    _rests: OrderedDict[str, float] = attrs.field(factory=OrderedDict)  # until when a peer is not asked

    async def open(self, peer: str) -> HolderStream:
        """Raises UnreachableError: it is not connected, does not belong to the swarm, is not the peer it was, or rests."""
        lock = self._opening.setdefault(peer, trio.Lock())
        try:
            async with lock:
                known = self._streams.get(peer)
                if known is not None and not known.closed:
                    self._streams.move_to_end(peer)
                    return known
                if self.rests(peer):
                    raise UnreachableError(f"{peer} is not asked for a while")
                return await self._open(peer)
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._opening.pop(peer, None)

    def rests(self, peer: str) -> bool:
        return self._rests.get(peer, 0.0) > trio.current_time()

    def rest(self, peer: str, seconds: float) -> None:
        """Do not ask this peer for so long, and end its stream."""
        self._rests[peer] = trio.current_time() + seconds
        self._rests.move_to_end(peer)
        if len(self._rests) > MOST_RESTING:
            self._rests.popitem(last=False)
        if (stream := self._streams.get(peer)) is not None:
            stream.end()

    async def _open(self, peer: str) -> HolderStream:
        if self.nursery is None:
            raise UnreachableError("not started")
        stream = None
        try:
            with trio.fail_after(OPEN_SECONDS):
                stream = await self.transport.open_stream(peer, BLOCK_PROTOCOL)
                holder = HolderStream(
                    stream=stream,
                    proof=self.proof,
                    came=self.came,
                    took=self.took,
                    lacking=self.lacking,
                    ended=self._ended,
                    arrived=partial(arrived_from, self.transport, peer),
                )
                await holder.greet()
        except BaseException as error:
            if stream is not None:
                await stream.reset()
            if isinstance(error, FrameError):
                self.rest(peer, OPEN_SECONDS)
            if isinstance(error, (FrameError, StreamClosedError, trio.TooSlowError)):
                raise UnreachableError(f"{peer}: {str(error) or 'it does not answer'}") from error
            raise
        self._make_room()
        self._streams[peer] = holder
        self.nursery.start_soon(holder.run)
        return holder

    def _make_room(self) -> None:
        """The one that was not opened for the longest, and that nobody waits for."""
        if len(self._streams) >= MOST_OPEN:
            for holder in self._streams.values():
                if not holder.outstanding:
                    holder.end()
                    break

    def _ended(self, holder: HolderStream, why: str) -> None:
        if self._streams.get(holder.peer) is holder:
            del self._streams[holder.peer]
        self.log.debug("blocks.stream_ended", holder=holder.peer, cause=why)
        self.lost(holder, why)
