"""What a daemon answers, of which no more is kept in memory than a daemon has to say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from learnae.lowlevel import MEGABYTE, BadResponseError, ResponseTooLongError, load_json, sanitize

MOST_LINE_BYTES = MEGABYTE
MOST_LINE_ITEMS = 10_000  # lists, mappings and what is in them
MOST_ANSWER_BYTES = 64 * MEGABYTE  # some four times what all the pins take that are counted
MOST_COMPLAINT_BYTES = 1 << 16


class NoComplaintError(Exception):
    """A status that says no, and nothing that a daemon would say with it."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class KuboRefusedError(NoComplaintError):
    """The daemon says that it will not, and why."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(sanitize(message), status)


def answers(pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON objects in a body, one a line, as they come. Raises BadResponseError, Refused."""
    for answer in map(_decoded, filter(bytes.strip, _lines(pieces))):
        if answer.get("Type") == "error":
            raise KuboRefusedError(str(answer.get("Message")))
        yield answer


def complaint(pieces: Iterable[bytes]) -> str:
    """What a daemon says when it refuses; nothing if it is no daemon that speaks."""
    said = b""
    try:
        for piece in pieces:
            said += piece
            if len(said) > MOST_COMPLAINT_BYTES:
                return ""
        return str(_decoded(said).get("Message", ""))
    except (ResponseTooLongError, NoJsonError):
        return ""


class NoJsonError(BadResponseError):
    """Where a daemon would say an object."""


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    begun = bytearray()
    for piece in pieces:
        begun += piece
        if b"\n" in piece:
            *whole, rest = bytes(begun).split(b"\n")
            yield from whole
            begun = bytearray(rest)
        if len(begun) > MOST_LINE_BYTES:
            raise ResponseTooLongError(MOST_LINE_BYTES)
    yield bytes(begun)


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        found = load_json(line, MOST_LINE_ITEMS)
    except BadResponseError as error:
        raise NoJsonError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise NoJsonError("an answer that is no JSON") from error
    if not isinstance(found, dict):
        raise NoJsonError("an answer that is no JSON object")
    return found
