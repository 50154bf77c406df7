"""Validators of what a stranger wrote: each returns the value, of its type and within its bounds, or raises UpdateRejectedError."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any

from learnae.errors import UpdateRejectedError
from learnae.records import PeerId

MAX_INTEGER = (1 << 63) - 1

_PEER = re.compile("[0-9a-f]{64}")


def integer(value: Any, what: str, low: int = 0, high: int = MAX_INTEGER) -> int:
    """An integer (no boolean, no float) from `low` to `high`."""
    if type(value) is not int or not low <= value <= high:
        raise malformed(what, f"an integer from {low} to {high}")
    return value


def real(value: Any, what: str, low: float = -math.inf) -> float:
    """A finite float, at least `low`."""
    if type(value) is not float or not math.isfinite(value) or value < low:
        raise malformed(what, "a finite number" if low == -math.inf else f"a finite number, at least {low}")
    return value


def truth(value: Any, what: str) -> bool:
    if type(value) is not bool:
        raise malformed(what, "true or false")
    return value


def text(value: Any, what: str, limit: int) -> str:
    """At most `limit` printable characters: these texts end up in logs and terminals."""
    if type(value) is not str or len(value) > limit or not value.isprintable():
        raise malformed(what, f"at most {limit} printable characters")
    return value


def one_of(value: Any, what: str, known: Collection[str]) -> str:
    """One of these texts."""
    if type(value) is not str or value not in known:
        raise malformed(what, "one that is known")
    return value


def note(value: Any, limit: int) -> int | float | str:
    """A number, or text of at most `limit` characters."""
    if type(value) is str:
        return text(value, "a note", limit)
    if type(value) is float:
        return real(value, "a note")
    return integer(value, "a note", low=-MAX_INTEGER)


def peer(value: Any, what: str) -> PeerId:
    """A public key as 64 lower-case hexadecimal digits."""
    if type(value) is not str or not _PEER.fullmatch(value):
        raise malformed(what, "64 hexadecimal digits")
    return PeerId(value)


def octets(value: Any, what: str, low: int, high: int) -> bytes:
    """From `low` to `high` bytes."""
    if type(value) is not bytes or not low <= len(value) <= high:
        raise malformed(what, f"{low} bytes" if low == high else f"{low} to {high} bytes")
    return value


def items(value: Any, what: str, limit: int) -> list[Any]:
    """A list of at most `limit` items."""
    if type(value) is not list or len(value) > limit:
        raise malformed(what, f"a list of at most {limit} items")
    return value


def table(value: Any, what: str, limit: int) -> dict[Any, Any]:
    """A mapping of at most `limit` entries."""
    if type(value) is not dict or len(value) > limit:
        raise malformed(what, f"a mapping of at most {limit} entries")
    return value


def malformed(what: str, wanted: str) -> UpdateRejectedError:
    return UpdateRejectedError("malformed", f"{what} must be {wanted}")
