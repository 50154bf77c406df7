"""Heartbeats: a frozen peer keeps its connections open for ever, so each end asks now and then whether the other still runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio

from learnae_libp2p.streams.silence import arrived_from, silence
from learnae_libp2p.streams.transport import SilentError, Stream, StreamClosedError, Transport, UnreachableError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

T = TypeVar("T")

HEARTBEAT_PROTOCOL = "/learnae/heartbeat/1"
BEAT_SECONDS, ANSWER_SECONDS = 10.0, 20.0
OTHERS_SECONDS = 15.0  # until a peer that does not speak this is asked again
LEAST_SECONDS = 1.0  # between two answers
BEAT_BYTES = 8
MOST_ANSWERED = 512  # streams


class FrozenError(Exception):
    """A peer has not answered in time."""


@attrs.define(eq=False, kw_only=True)
class Heartbeats:
    """`watch` follows one connection until it ends; `answer` serves the other end's."""

    transport: Transport
    nonce: Callable[[], bytes]
    log: FilteringBoundLogger
    rtts: dict[str, float] = attrs.field(factory=dict)  # seconds, of those that are watched
    _answered: dict[str, trio.CancelScope] = attrs.field(factory=dict)

    async def watch(self, peer: str) -> None:
        """Disconnect the peer where it does not answer. Returns when its connection is gone."""
        try:
            while self.transport.connection(peer) is not None:
                try:
                    await self._beat(peer)
                except FrozenError:
                    self.log.info("peer.frozen", peer=peer)
                    await self.transport.disconnect(peer)
                except StreamClosedError:
                    await trio.sleep(LEAST_SECONDS)
                except UnreachableError:
                    await trio.sleep(OTHERS_SECONDS)
        finally:
            self.rtts.pop(peer, None)

    async def _beat(self, peer: str) -> None:
        stream = await self._open(peer)
        try:
            while True:
                begin = trio.current_time()
                await self._ask(stream)
                self.rtts[peer] = trio.current_time() - begin
                await trio.sleep(BEAT_SECONDS)
        finally:
            await stream.reset()

    async def _open(self, peer: str) -> Stream:
        """Raises FrozenError for a peer that answers nothing, UnreachableError for one that does not speak this."""

        async def give_up() -> None:
            # Before it is cancelled: what is stuck in a full buffer may not hear of that, and ends with its connection.
            await self.transport.disconnect(peer)

        return await self._in_time(peer, lambda: self._opened(peer), give_up)

    async def _in_time(self, peer: str, ask: Callable[[], Awaitable[T]], give_up: Callable[[], Awaitable[None]]) -> T:
        """What this peer answers. Raises FrozenError where it is silent for too long, and what `ask` raises."""
        found: list[T | StreamClosedError | UnreachableError] = []
        late = False

        async def look() -> None:
            try:
                found.append(await ask())
            except (StreamClosedError, UnreachableError) as error:
                found.append(error)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await silence(lambda: arrived_from(self.transport, peer), ANSWER_SECONDS)
            late = True
            await give_up()
            nursery.cancel_scope.cancel()
        if late or not found:
            raise FrozenError
        if isinstance(found[0], StreamClosedError | UnreachableError):
            raise found[0]
        return found[0]

    async def _opened(self, peer: str) -> Stream:
        """Tried again for as long as nothing is answered. Raises UnreachableError for a peer that does not speak this."""
        while True:
            try:
                return await self.transport.open_stream(peer, HEARTBEAT_PROTOCOL)
            except SilentError:
                await trio.sleep(LEAST_SECONDS)

    async def _ask(self, stream: Stream) -> None:
        sent = self.nonce()[:BEAT_BYTES]

        async def exchange() -> bytes:
            answer = b""
            await stream.send_all(sent)
            while len(answer) < BEAT_BYTES:
                if not (more := await stream.receive_some(BEAT_BYTES - len(answer))):
                    raise StreamClosedError("no more heartbeats")
                answer += more
            return answer

        if await self._in_time(stream.peer, exchange, trio.lowlevel.checkpoint) != sent:
            raise FrozenError

    async def answer(self, stream: Stream) -> None:
        """Serve one stream; of one peer only the newest."""
        if (older := self._answered.pop(stream.peer, None)) is not None:
            older.cancel()
        if len(self._answered) >= MOST_ANSWERED:
            return
        with trio.CancelScope() as scope:
            self._answered[stream.peer] = scope
            try:
                await _echo(stream)
            except StreamClosedError:
                pass
            finally:
                if self._answered.get(stream.peer) is scope:
                    del self._answered[stream.peer]


async def _echo(stream: Stream) -> None:
    while data := await stream.receive_some(BEAT_BYTES):
        await stream.send_all(data)
        await trio.sleep(LEAST_SECONDS / BEAT_BYTES * len(data))
