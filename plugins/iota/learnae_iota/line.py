"""One connection to a node's HTTP API, of the standard library alone. It can be cut off from another thread, whatever it waits for."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import math
import re
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

CONNECT_SECONDS = 2.0  # nothing can cut off a connection that is still being made
PATIENCE = 3  # times as long as a node may be silent: so long may a whole answer take, which may come by drops
ANSWER_BYTES = 8 * 1024 * 1024
CLOCK_SECONDS = 120.0  # that a node's clock is believed to go on as before
SET_SECONDS = 1.0
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(;[^\r\n]*)?\r?\n")
_LINE_BYTES = 1024
_HEADERS = {"Content-Type": "application/json", "X-IOTA-API-Version": "1"}
_SHOWN_CHARACTERS = 200


class Refused(Exception):
    """The node answers that it will not, with this HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Nonsense(Exception):
    """What answers is no node, or one that talks nonsense."""


FAILURES = (OSError, http.client.HTTPException, Refused, Nonsense)


class Line:
    """For one thread at a time; `hang_up` may come from any other, and then every call fails at once, now and later.

    A node may be silent for `silence_seconds`, and a whole answer may take PATIENCE times as long: whoever reads `rest_seconds` in another
    thread sees to that.

    It goes through no proxy and follows no redirection: the node is asked at its address or not at all.
    """

    def __init__(self, address: str, silence_seconds: float) -> None:
        check_address(address)
        self.address = address
        self.most_found, self.most_trytes = 1000, 100  # of one call
        self.hung_up = False
        self._parts = urlsplit(address)
        self._silence_seconds = silence_seconds
        self._asked_at: float | None = None
        self._offset = self._own_offset = _own_offset()
        self._set_at = -math.inf
        self._connection: http.client.HTTPConnection | None = None
        self._lock = threading.Lock()

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """What the node answers. Raises one of FAILURES."""
        self._asked_at = time.monotonic()
        try:
            return _understood(command, *self._answer(json.dumps({"command": command, **arguments}).encode()))
        finally:
            self._asked_at = None

    def rest_seconds(self) -> float:
        """How long the answer to what is asked now may still take; of one that is asked now, while nothing is."""
        asked_at = self._asked_at
        waited = time.monotonic() - asked_at if asked_at is not None else 0.0
        return PATIENCE * self._silence_seconds - waited

    def _answer(self, body: bytes) -> tuple[int, bytes]:
        used = self._connection is not None
        try:
            return self._exchange(body)
        except (ConnectionError, http.client.BadStatusLine):
            if not used or self.hung_up:
                raise
            return self._exchange(body)  # the node has closed a connection that was idle

    def now(self) -> float:
        """Seconds since 1970 on the node's clock: it refuses what is ten minutes ahead of it, and a small device may have no clock.

        It goes on evenly when the own clock is set.
        """
        return time.monotonic() + self._offset

    def set_clock(self, seconds: float) -> None:
        """What the node's clock shows now."""
        self._offset, self._set_at, self._own_offset = seconds - time.monotonic(), time.monotonic(), _own_offset()

    @property
    def ahead_seconds(self) -> float:
        """The node's clock, of the own one."""
        return self.now() - time.time()

    @property
    def clock_is_due(self) -> bool:
        """The node is to be asked what its clock shows: it never was, or long ago, or the own one was set, or this machine was asleep."""
        return time.monotonic() - self._set_at > CLOCK_SECONDS or abs(_own_offset() - self._own_offset) > SET_SECONDS

    def hang_up(self) -> None:
        with self._lock:
            self.hung_up = True
            if self._connection is not None and self._connection.sock is not None:
                _shut(self._connection.sock)

    def close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _exchange(self, body: bytes) -> tuple[int, bytes]:
        try:
            connection = self._connection or self._connected()
            connection.request("POST", self._parts.path or "/", body, _HEADERS)
            answer = connection.getresponse()
            data = _data(answer)
            if answer.will_close:
                self.close()
            return answer.status, data
        except ValueError as error:  # http.client believes some of what it is told
            self.close()
            raise Nonsense(f"no HTTP: {error}") from error
        except BaseException:
            self.close()
            raise

    def _connected(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=CONNECT_SECONDS)
        connection.connect()
        connection.sock.settimeout(self._silence_seconds)
        with self._lock:
            self._connection = connection
            if self.hung_up:
                _shut(connection.sock)
        return connection


def _own_offset() -> float:
    """It changes when the own clock is set."""
    return time.time() - time.monotonic()


def check_address(address: str) -> None:
    """Raises ValueError for what is no address of a node."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        (parts.hostname or "").encode("idna")  # as the one who looks up the name does
    except ValueError:
        good = False
    if not good or not address.isascii() or not address.isprintable() or " " in address:
        raise ValueError("must be an address such as http://127.0.0.1:14265")


def _data(answer: http.client.HTTPResponse) -> bytes:
    data = _joined(answer.fp) if answer.chunked else answer.read(ANSWER_BYTES + 1)
    answer.close()
    if len(data) > ANSWER_BYTES:
        raise _too_long()
    return data


def _joined(chunks: io.BufferedReader) -> bytes:
    """Not by http.client: it takes negative sizes, and then reads without a limit."""
    data = bytearray()
    while size := _size(chunks.readline(_LINE_BYTES)):
        if len(data) + size > ANSWER_BYTES:
            raise _too_long()
        data += chunks.read(size)
        _end_line(chunks)
    _end_line(chunks)
    return bytes(data)


def _size(line: bytes) -> int:
    if (match := _CHUNK_SIZE.fullmatch(line)) is None:
        raise Nonsense("an answer in chunks without a size")
    return int(match[1], 16)


def _end_line(chunks: io.BufferedReader) -> None:
    if chunks.readline(3) not in (b"\r\n", b"\n"):
        raise Nonsense("an answer in chunks that do not end")


def _too_long() -> Nonsense:
    return Nonsense(f"an answer of more than {ANSWER_BYTES} bytes")


def _understood(command: str, status: int, data: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        answer = None
    if status != 200:
        text = answer.get("error") if isinstance(answer, dict) else None
        raise Refused(f"{command}: {status} {_printable(text or http.client.responses.get(status, ''))}", status)
    if not isinstance(answer, dict):
        raise Nonsense(f"{command}: the answer is no JSON object; is this the HTTP API of a Hornet?")
    return answer


def _printable(text: object) -> str:
    return "".join(character for character in str(text)[:_SHOWN_CHARACTERS] if character.isprintable())


def _shut(sock: socket.socket) -> None:
    """Whoever reads from it or writes to it in another thread is told at once; closing it would tell nobody."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # that of TLS changes what the other thread uses
