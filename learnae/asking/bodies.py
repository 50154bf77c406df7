"""The body of an answer, piece by piece, never more than was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from learnae.asking.errors import BadAnswer, TooLong
from learnae.asking.heads import HEAD_BYTES, Head, read_fields
from learnae.asking.source import PIECE_BYTES, Source

SIZE_LINE_BYTES = 256
FREE_FRAMING = 1 << 16  # bytes that are no body, before they are weighed against it
MOST_FRAMING = 8  # times the body: chunks of a single byte have five
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")


def read_body(source: Source, head: Head, most: int) -> Iterator[bytes]:
    """Raises TooLong for more than `most` bytes, before they are read where the other side tells; BadAnswer for what is no framing."""
    if head.chunked:
        yield from _chunks(source, most)
    elif head.length is not None:
        if head.length > most:
            raise TooLong(most)
        yield from _counted(source, head.length)
    else:
        yield from _to_the_end(source, most)


def _to_the_end(source: Source, most: int) -> Iterator[bytes]:
    size = 0
    while piece := source.piece(PIECE_BYTES):
        size += len(piece)
        if size > most:
            raise TooLong(most)
        yield piece


def _counted(source: Source, count: int) -> Iterator[bytes]:
    while count:
        piece = source.piece(min(count, PIECE_BYTES))
        if not piece:
            raise BadAnswer("an answer that ends too early")
        count -= len(piece)
        yield piece


def _chunks(source: Source, most: int) -> Iterator[bytes]:
    size = framing = 0
    while count := _size(line := source.line(SIZE_LINE_BYTES)):
        framing += len(line) + 2
        size += count
        if size > most:
            raise TooLong(most)
        if framing > FREE_FRAMING + MOST_FRAMING * size:
            raise BadAnswer("an answer in chunks that hold next to nothing")
        yield from _counted(source, count)
        if source.line(2) != b"\r\n":
            raise BadAnswer("an answer in chunks that do not end")
    read_fields(source, HEAD_BYTES)


def _size(line: bytes) -> int:
    if (match := _SIZE.fullmatch(line)) is None:
        raise BadAnswer("an answer in chunks without a size")
    return int(match[1], 16)
