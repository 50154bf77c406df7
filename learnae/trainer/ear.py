"""The lines of a node, read without waiting longer than its watcher may."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

from learnae.link.lines import MAX_LINE, Garbled, Lines
from learnae.link.messages import Message

RECEIVE_BYTES = 1 << 16
LONGEST_SECONDS = 3600.0  # of one wait: a system counts no more than 24 days of milliseconds


class Ear:
    """The trainer's end of a link. `ended` after an end of file."""

    def __init__(self, ours: socket.socket, lines: Lines) -> None:
        self._socket, self._lines, self._rest = ours, lines, bytearray()
        self._poll = select.poll()
        self._poll.register(ours, select.POLLIN)
        self.ended = False

    def listen(self, seconds: float) -> Iterator[Message]:
        """What comes next, if something does within so many seconds. Raises Garbled, and OSError when the link breaks."""
        if not self._poll.poll(1000 * min(seconds, LONGEST_SECONDS)):
            return
        data = self._socket.recv(RECEIVE_BYTES)
        self.ended = not data
        self._rest += data
        while (end := self._rest.find(b"\n")) >= 0:
            line = bytes(self._rest[: end + 1])
            del self._rest[: end + 1]
            yield self._lines.decode(line)
        if len(self._rest) > MAX_LINE:
            raise Garbled(f"no line ends within {MAX_LINE} bytes")
