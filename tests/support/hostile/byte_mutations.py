"""Mutations that know nothing of the form: flips, cuts, copies, insertions, and headers of CBOR that claim too much."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from random import Random

from tests.support.hostile import value_mutations
from tests.support.hostile.value_mutations import Form

CLAIMS = tuple(
    struct.pack(">BQ", major << 5 | 27, count) for major in range(7) for count in (2**16, 2**20, 2**31, 2**32, 2**40, 2**63, 2**64 - 1)
)
"""Integers, texts, lists, mappings and tags, as long as a header can say."""
DEEP = (b"\x81", b"\xa1\x61a", b"\xd8\x2a", b"[", b'{"a":')
BYTES = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\x9f",
    b"\xbf",
    b"\xf6",
    b"\xf7",
    b"\xf9\x7e\x00",
    b"\xfb" + b"\xff" * 8,
    b"\n",
    b'"',
    b"NaN",
)


def mutated(data: bytes, forms: Sequence[Form], rng: Random) -> bytes:
    """A valid encoding made invalid in one or more ways, or left as it is."""
    if forms and rng.random() < 0.6:
        data = value_mutations.mutated(data, rng.choice(forms), rng)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        data = _mutated_bytes(data, rng)
    return data


def _mutated_bytes(data: bytes, rng: Random) -> bytes:
    at, end = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
    near = min(end, at + rng.choice((1, 2, 8, 40)))
    match rng.randrange(8):
        case 0:
            return _flipped(data, rng)
        case 1:
            return data[:at]  # cut off
        case 2:
            return data[:near] + data[at:]  # a piece twice
        case 3:
            return data[:at] + data[near:]  # a piece missing
        case 4:
            return data[:at] + rng.randbytes(rng.choice((1, 4, 30))) + data[at:]
        case 5:
            return data[:at] + rng.choice(CLAIMS) + data[rng.choice((at, near)) :]
        case 6:
            return data[:at] + rng.choice(DEEP) * rng.choice((1, 10, 100, 1500)) + data[at:]
    return data[:at] + rng.choice(BYTES) + data[near:]


def _flipped(data: bytes, rng: Random) -> bytes:
    if not data:
        return b"\x00"
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
