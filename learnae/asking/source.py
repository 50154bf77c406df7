"""Bytes out of a socket, with an end to all waiting."""

from __future__ import annotations

import math
import socket
import time

from learnae.asking.errors import BadAnswer

PIECE_BYTES = 1 << 16


class Source:
    """What comes out of one socket, for one answer after the other.

    Until the first byte of an answer the other side may be silent for `silence_seconds`; from then on its head has `head_seconds` and its
    body the seconds that it is then given, however they come, and no pause is longer than the silence.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray()
        self._silence = self._head = self._end = math.inf
        self._begun = False

    def begin(self, silence_seconds: float, head_seconds: float) -> None:
        """Another answer."""
        self._silence, self._head, self._end = silence_seconds, head_seconds, math.inf
        self._begun = False

    def go_on(self, body_seconds: float) -> None:
        self._end = time.monotonic() + body_seconds

    @property
    def holds_more(self) -> bool:
        """Whether bytes are here that nobody asked for."""
        return bool(self._buffer)

    def line(self, most: int) -> bytes:
        """One line with its end, CR and LF. Raises BadAnswer for a longer one, and where the other side ends in it."""
        searched = 0
        while (at := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched >= most or not self._fill():
                raise BadAnswer(f"a line of more than {most} bytes" if searched >= most else "an answer that ends in the middle of a line")
        if at >= most:
            raise BadAnswer(f"a line of more than {most} bytes")
        return self._taken(at + 1)

    def piece(self, most: int) -> bytes:
        """At least one byte and at most so many; none at the other side's end."""
        if not self._buffer and not self._fill():
            return b""
        return self._taken(min(most, len(self._buffer)))

    def _taken(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _fill(self) -> bool:
        """Whether more has come. Raises OSError."""
        seconds = min(self._silence, self._end - time.monotonic())
        if seconds <= 0.0:
            raise TimeoutError("an answer takes too long")
        self.sock.settimeout(seconds if seconds < math.inf else None)
        try:
            came = self.sock.recv(PIECE_BYTES)
        except TimeoutError:
            raise TimeoutError("an answer takes too long" if seconds < self._silence else f"no word for {self._silence:g} s") from None
        if not self._begun:
            if not came:
                raise ConnectionResetError("the connection was closed without an answer")
            self._begun, self._end = True, time.monotonic() + self._head
        self._buffer += came
        return bool(came)
