"""What a daemon answers, of which no more is kept in memory than a daemon has to say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import requests
from ipfshttpclient.exceptions import DecodingError, PartialErrorResponse

from learnae.records import MEGABYTE

PIECE_BYTES = 1 << 16
MOST_LINE_BYTES = MEGABYTE
MOST_ANSWER_BYTES = 64 * MEGABYTE  # some four times what all the pins take that are counted
MOST_COMPLAINT_BYTES = 1 << 16


def answers(pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON objects in a body, one a line, as they come. Raises DecodingError, PartialErrorResponse."""
    for answer in map(_decoded, filter(bytes.strip, _lines(pieces))):
        if answer.get("Type") == "error":
            raise PartialErrorResponse(str(answer.get("Message")))
        yield answer


def complaint(response: requests.Response) -> str:
    """What a daemon says when it refuses; nothing if it is no daemon that speaks."""
    said = b""
    for piece in response.iter_content(PIECE_BYTES):
        said += piece
        if len(said) > MOST_COMPLAINT_BYTES:
            return ""
    try:
        return str(_decoded(said).get("Message", ""))
    except DecodingError:
        return ""


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    begun, size = bytearray(), 0
    for piece in pieces:
        begun += piece
        size += len(piece)
        if b"\n" in piece:
            *whole, rest = bytes(begun).split(b"\n")
            yield from whole
            begun = bytearray(rest)
        if len(begun) > MOST_LINE_BYTES or size > MOST_ANSWER_BYTES:
            raise DecodingError("json", ValueError("more than any daemon has to say"))
    yield bytes(begun)


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DecodingError("json", error) from error
    if not isinstance(found, dict):
        raise DecodingError("json", ValueError("no object"))
    return found
