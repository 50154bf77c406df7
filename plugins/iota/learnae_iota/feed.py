"""A node's feed of new transactions (ZMQ), for trio. pyzmq is the extra `feed`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import trio

from learnae import ConfigError, Problem

TOPIC = b"trytes "
MOST_WAITING = 1000  # messages that ZMQ keeps for us
MOST_BYTES = 8192  # of a message; one has 2,762
LOOK_SECONDS = 1.0  # its file descriptor tells of changes only, and may be missed


@attrs.frozen
class Feed:
    """`take(hash, trytes)` is given each new transaction of the whole tangle: text that nobody has checked."""

    address: str
    zmq: Any

    @classmethod
    def load(cls, address: str) -> Feed:
        """Raises ConfigError where pyzmq is missing."""
        try:
            return cls(address, importlib.import_module("zmq"))
        except ImportError as error:
            problem = Problem("feed", f"needs pyzmq, which cannot be imported: {error}", 'pip install "pyzmq>=26"')
            raise ConfigError(problem) from error

    async def run(self, take: Callable[[str, str], None]) -> None:
        """Until cancelled. A node that is gone is waited for: ZMQ connects again by itself."""
        with self._connected() as socket:
            while True:
                message = self._next(socket)
                if message is None:
                    with trio.move_on_after(LOOK_SECONDS):
                        await trio.lowlevel.wait_readable(socket.getsockopt(self.zmq.FD))
                    continue
                await trio.lowlevel.checkpoint()
                words = message.removeprefix(TOPIC).decode("ascii", "replace").split(" ")
                if len(words) == 2:
                    take(words[1], words[0])

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        zmq = self.zmq
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RCVHWM, MOST_WAITING)
            socket.setsockopt(zmq.MAXMSGSIZE, MOST_BYTES)
            socket.setsockopt(zmq.SUBSCRIBE, TOPIC)
            socket.connect(self.address)
            yield socket

    def _next(self, socket: Any) -> bytes | None:
        try:
            return bytes(b" ".join(socket.recv_multipart(self.zmq.NOBLOCK)))
        except self.zmq.Again:
            return None
