"""Lines over a trio stream."""

from __future__ import annotations

import trio

from learnae.link.lines import MAX_LINE, Garbled, Lines
from learnae.link.messages import Message

RECEIVE_BYTES = 1 << 16


class LineStream(trio.abc.AsyncResource):
    """Receives messages one by one and sends encoded lines; one task each."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream, self._lines, self._rest = stream, Lines(), bytearray()

    def encode(self, message: Message) -> bytes:
        return self._lines.encode(message)

    async def send(self, line: bytes) -> None:
        await self._stream.send_all(line)

    async def receive(self, limit: int = MAX_LINE) -> Message | None:
        """The next message, or None at the end. Raises Garbled, and what a stream raises."""
        seen = 0
        while (end := self._rest.find(b"\n", seen)) < 0:
            seen = len(self._rest)
            if seen > limit:
                raise Garbled(f"no line ends within {limit} bytes")
            data = await self._stream.receive_some(RECEIVE_BYTES)
            if not data:
                return None
            self._rest += data
        line = bytes(self._rest[: end + 1])
        del self._rest[: end + 1]
        return self._lines.decode(line, limit)

    async def aclose(self) -> None:
        await self._stream.aclose()
