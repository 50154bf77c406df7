"""The head of an answer: its status and how its body is framed, read strictly and within bounds."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from learnae.asking.errors import BadAnswer
from learnae.asking.source import Source

HEAD_BYTES = 1 << 15  # with all that comes before it and belongs to it
FIELDS = 64
INTERIM = 4  # answers that say no more than that another one follows
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n]*)?\r\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\r\n")
_LENGTH = re.compile(r"[0-9]{1,15}")


@attrs.frozen
class Head:
    """`length` is None where the body is in chunks, or ends with the connection."""

    status: int
    chunked: bool
    length: int | None
    lasting: bool  # the connection may be used again


def read_head(source: Source) -> Head:
    """The first that is not interim. Raises BadAnswer for anything but plain HTTP/1, for a compressed body, and being sent elsewhere."""
    room = HEAD_BYTES
    for _ in range(INTERIM + 1):
        line = source.line(room)
        if (match := _STATUS.fullmatch(line)) is None:
            raise BadAnswer("no HTTP: the answer has no status")
        fields, room = read_fields(source, room - len(line))
        status = int(match[2])
        if status >= 200:
            return _head(status, match[1] == b"0", fields)
        if status == 101:
            raise BadAnswer("it would speak something else than HTTP")
    raise BadAnswer("an answer that is put off again and again")


def read_fields(source: Source, room: int) -> tuple[dict[str, str], int]:
    """Names, small, and values, and how many bytes may still come. One that comes twice is joined by a comma."""
    fields: dict[str, str] = {}
    for _ in range(FIELDS + 1):
        line = source.line(room)
        room -= len(line)
        if line == b"\r\n":
            return fields, room
        if (match := _FIELD.fullmatch(line)) is None:
            raise BadAnswer("no HTTP: a header that is none")
        name, value = match[1].decode().lower(), match[2].decode("latin-1")
        fields[name] = f"{fields[name]},{value}" if name in fields else value
    raise BadAnswer(f"more than {FIELDS} headers")


def _head(status: int, old: bool, fields: Mapping[str, str]) -> Head:
    if 300 <= status < 400:
        raise BadAnswer(f"it sends us elsewhere (status {status}), where we do not go: name the address itself")
    if (coding := fields.get("content-encoding", "identity")).lower() != "identity":
        raise BadAnswer("an answer that is compressed, though nobody asked for it" if coding else "an empty Content-Encoding")
    chunked, length = _chunked(fields, old), _length(fields)
    if chunked and length is not None:
        raise BadAnswer("an answer with two lengths")
    if status == 204:
        chunked, length = False, 0
    connection = {token.strip().lower() for token in fields.get("connection", "").split(",")}
    return Head(status, chunked, length, not old and "close" not in connection and (chunked or length is not None))


def _chunked(fields: Mapping[str, str], old: bool) -> bool:
    if (coding := fields.get("transfer-encoding")) is None:
        return False
    if coding.lower() != "chunked" or old:
        raise BadAnswer("an answer that is transferred in a way that nobody asked for")
    return True


def _length(fields: Mapping[str, str]) -> int | None:
    if (length := fields.get("content-length")) is None:
        return None
    if not _LENGTH.fullmatch(length):
        raise BadAnswer("an answer whose length is no number, or told twice")
    return int(length)
