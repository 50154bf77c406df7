"""What a daemon answers over HTTP."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterable, Iterator

from learnae.http import FAILURES
from learnae.http.messages import BoundedReader, read_body, read_head
from tests.support.hostile.targets import Target

MOST = 4096
ANSWERS = (
    (
        b"HTTP/1.1 200 OK\r\nServer: kubo\r\nTrailer: X-Late\r\n"
        b'Transfer-Encoding: chunked\r\n\r\n5;a=b\r\n{"a":\r\n3\r\n 7}\r\n0\r\nX-Late: 1\r\n\r\n'
    ),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}",
    b"HTTP/1.0 200 OK\r\n\r\n{}",
    b"HTTP/1.1 204 No Content\r\n\r\n",
)


class Played(socket.socket):
    """One that gives these pieces, and then has ended; nothing is sent over it."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self.close()
        self._pieces = iter([piece for piece in pieces if piece])

    def recv(self, size: int, flags: int = 0) -> bytes:
        return next(self._pieces, b"")

    def settimeout(self, value: float | None) -> None:
        pass


def targets() -> Iterator[Target]:
    def decode(data: bytes) -> bytes:
        source = BoundedReader(Played([data]))
        source.begin(math.inf, math.inf)
        head = read_head(source)
        return b"".join(read_body(source, head, MOST))

    def short(data: bytes, body: bytes) -> None:
        assert len(body) <= min(MOST, len(data))

    yield Target("answer", decode, FAILURES, ANSWERS, (), short)
