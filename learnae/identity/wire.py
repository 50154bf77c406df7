"""How the fields of an announcement look in CBOR: for each type, how it is written and what is accepted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from learnae.content import expect
from learnae.content.cids import CID_BYTES, cid_bytes, cid_text

NAMES = 8  # storages in `hints`, hints of one storage, versions
NAME_CHARACTERS = 64
HINT_CHARACTERS = 200
LABELS = 64


@attrs.frozen
class Wire:
    """`load(value, what)` raises UpdateRejected for what `dump` never makes."""

    load: Callable[[Any, str], Any]
    dump: Callable[[Any], Any] = lambda value: value


def octets(low: int, high: int) -> Wire:
    return Wire(partial(expect.octets, low=low, high=high), bytes)


def _cid(value: Any, what: str) -> Any:
    return cid_text(expect.octets(value, what, CID_BYTES, CID_BYTES))


def _labels(value: Any, what: str) -> dict[str, int]:
    entries = expect.table(value, what, LABELS).items()
    return {expect.text(name, what, NAME_CHARACTERS): expect.integer(count, what) for name, count in entries}


def _hints(value: Any, what: str) -> dict[str, tuple[str, ...]]:
    entries = expect.table(value, what, NAMES).items()
    return {expect.text(name, what, NAME_CHARACTERS): _texts(hints, what) for name, hints in entries}


def _texts(value: Any, what: str) -> tuple[str, ...]:
    return tuple(expect.text(text, what, HINT_CHARACTERS) for text in expect.items(value, what, NAMES))


def _versions(value: Any, what: str) -> tuple[int, ...]:
    return tuple(expect.integer(version, what, high=255) for version in expect.items(value, what, NAMES))


COUNT = Wire(expect.integer)
FLAG = Wire(expect.truth)
REAL = Wire(expect.real, float)
SECONDS = Wire(partial(expect.real, low=0.0), float)
NAME = Wire(partial(expect.text, limit=NAME_CHARACTERS))
CID = Wire(_cid, cid_bytes)
LABEL_COUNTS = Wire(_labels, dict)
HINTS = Wire(_hints, lambda hints: {name: list(texts) for name, texts in hints.items()})
VERSIONS = Wire(_versions, list)
