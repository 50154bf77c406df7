"""HTTP answers: head and body, read strictly. Each size is bounded, and each wait has an end."""

from __future__ import annotations

import json
import math
import re
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

import attrs


class BadResponseError(Exception):
    """The answer is no HTTP, or breaks its rules. Nothing in it can be used."""


class ResponseTooLongError(BadResponseError):
    """The answer is longer than the caller allows. The rest was not read."""

    def __init__(self, most: int) -> None:
        super().__init__(f"an answer of more than {most} bytes")


SANITIZED_CHARACTERS = 200


def sanitize(said: str, most: int = SANITIZED_CHARACTERS) -> str:
    """A text of others, made harmless for a terminal and a log, and cut to `most` characters.

    Other characters become one space each run.
    """
    words = "".join(character if character.isprintable() else " " for character in said[: 4 * most]).split()
    shown = " ".join(words)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


PIECE_BYTES = 1 << 16


class BoundedReader:
    """Reads one answer after the other from one socket.

    Before the first byte of an answer the other side may be silent for `silence_seconds`. From then on the head must come within
    `head_seconds`, and the body within the seconds that the caller gives. No pause may be longer than `silence_seconds`.
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
        """One line with its end, CR and LF. Raises BadResponseError for a longer one, and where the other side ends in it."""
        searched = 0
        while (at := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched >= most or not self._fill():
                raise BadResponseError(
                    f"a line of more than {most} bytes" if searched >= most else "an answer that ends in the middle of a line"
                )
        if at >= most:
            raise BadResponseError(f"a line of more than {most} bytes")
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


HEAD_BYTES = 1 << 15  # with all that comes before it and belongs to it
FIELDS = 64
INTERIM = 4  # answers that say no more than that another one follows
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n]*)?\r\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\r\n")
_LENGTH = re.compile(r"[0-9]{1,15}")


@attrs.frozen
class ResponseHead:
    """`length` is None where the body is in chunks, or ends with the connection."""

    status: int
    chunked: bool
    length: int | None
    lasting: bool  # the connection may be used again


def read_head(source: BoundedReader) -> ResponseHead:
    """The first that is not interim. Raises BadResponseError for anything but plain HTTP/1, for a compressed body, and being sent
    elsewhere.
    """
    room = HEAD_BYTES
    for _ in range(INTERIM + 1):
        line = source.line(room)
        if (match := _STATUS.fullmatch(line)) is None:
            raise BadResponseError("no HTTP: the answer has no status")
        fields, room = read_fields(source, room - len(line))
        status = int(match[2])
        if status >= 200:
            return _head(status, match[1] == b"0", fields)
        if status == 101:
            raise BadResponseError("it would speak something else than HTTP")
    raise BadResponseError("an answer that is put off again and again")


def read_fields(source: BoundedReader, room: int) -> tuple[dict[str, str], int]:
    """Names, small, and values, and how many bytes may still come. One that comes twice is joined by a comma."""
    fields: dict[str, str] = {}
    for _ in range(FIELDS + 1):
        line = source.line(room)
        room -= len(line)
        if line == b"\r\n":
            return fields, room
        if (match := _FIELD.fullmatch(line)) is None:
            raise BadResponseError("no HTTP: a header that is none")
        name, value = match[1].decode().lower(), match[2].decode("latin-1")
        fields[name] = f"{fields[name]},{value}" if name in fields else value
    raise BadResponseError(f"more than {FIELDS} headers")


def _head(status: int, old: bool, fields: Mapping[str, str]) -> ResponseHead:
    if 300 <= status < 400:
        raise BadResponseError(f"it sends us elsewhere (status {status}), where we do not go: name the address itself")
    if (coding := fields.get("content-encoding", "identity")).lower() != "identity":
        raise BadResponseError("an answer that is compressed, though nobody asked for it" if coding else "an empty Content-Encoding")
    chunked, length = _chunked(fields, old), _length(fields)
    if chunked and length is not None:
        raise BadResponseError("an answer with two lengths")
    if status == 204:
        chunked, length = False, 0
    connection = {token.strip().lower() for token in fields.get("connection", "").split(",")}
    return ResponseHead(status, chunked, length, not old and "close" not in connection and (chunked or length is not None))


def _chunked(fields: Mapping[str, str], old: bool) -> bool:
    if (coding := fields.get("transfer-encoding")) is None:
        return False
    if coding.lower() != "chunked" or old:
        raise BadResponseError("an answer that is transferred in a way that nobody asked for")
    return True


def _length(fields: Mapping[str, str]) -> int | None:
    if (length := fields.get("content-length")) is None:
        return None
    if not _LENGTH.fullmatch(length):
        raise BadResponseError("an answer whose length is no number, or told twice")
    return int(length)


SIZE_LINE_BYTES = 256
FREE_FRAMING = 1 << 16  # bytes that are no body, before they are weighed against it
MOST_FRAMING = 8  # times the body: chunks of a single byte have five
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")


def read_body(source: BoundedReader, head: ResponseHead, most: int) -> Iterator[bytes]:
    """The body, piece by piece.

    Raises ResponseTooLongError for more than `most` bytes, before they are read where the other side tells, and BadResponseError for
    what is no framing.
    """
    if head.chunked:
        yield from _chunks(source, most)
    elif head.length is not None:
        if head.length > most:
            raise ResponseTooLongError(most)
        yield from _counted(source, head.length)
    else:
        yield from _to_the_end(source, most)


def _to_the_end(source: BoundedReader, most: int) -> Iterator[bytes]:
    size = 0
    while piece := source.piece(PIECE_BYTES):
        size += len(piece)
        if size > most:
            raise ResponseTooLongError(most)
        yield piece


def _counted(source: BoundedReader, count: int) -> Iterator[bytes]:
    while count:
        piece = source.piece(min(count, PIECE_BYTES))
        if not piece:
            raise BadResponseError("an answer that ends too early")
        count -= len(piece)
        yield piece


def _chunks(source: BoundedReader, most: int) -> Iterator[bytes]:
    size = framing = 0
    while count := _size(line := source.line(SIZE_LINE_BYTES)):
        framing += len(line) + 2
        size += count
        if size > most:
            raise ResponseTooLongError(most)
        if framing > FREE_FRAMING + MOST_FRAMING * size:
            raise BadResponseError("an answer in chunks that hold next to nothing")
        yield from _counted(source, count)
        if source.line(2) != b"\r\n":
            raise BadResponseError("an answer in chunks that do not end")
    read_fields(source, HEAD_BYTES)


def _size(line: bytes) -> int:
    if (match := _SIZE.fullmatch(line)) is None:
        raise BadResponseError("an answer in chunks without a size")
    return int(match[1], 16)


def load_json(data: bytes, most_items: int) -> Any:
    """The value that these bytes of JSON stand for: a list, a mapping, a text, ...

    Raises ValueError for bytes that are no JSON, RecursionError, and BadResponseError for more than `most_items` lists, mappings and
    entries. They are counted by the signs between them, before anything is read. Signs in the middle of a text count too.
    """
    if (items := sum(map(data.count, (b"[", b"{", b",")))) > most_items:
        raise BadResponseError(f"an answer of some {items} items, {most_items} expected at most")
    return json.loads(data)
