"""Which number stands for which field in an announcement of version 1.

0 to 2 are the head, 3 to 7 are kept for it, the bodies begin at 8. Numbers are never used again for another meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from learnae.errors import UpdateRejected
from learnae.identity.wire import CID, COUNT, FLAG, HINTS, LABEL_COUNTS, NAME, REAL, SECONDS, VERSIONS, Wire, octets
from learnae.records import Body, Kind, Leaving, Present, Sample, Slice, Update

SKETCH_BYTES = 400
SAMPLE_BYTES = 850  # with all that stands around it, sealed, it fits into ENVELOPE_BYTES

_NOTHING: tuple[object, ...] = (None, b"", {})


@attrs.frozen
class Field:
    """One field of a body. An optional one is left out where it has its default."""

    number: int
    name: str
    wire: Wire
    optional: bool = False


_BODIES: Mapping[Kind, tuple[type[Body], tuple[Field, ...]]] = {
    Kind.UPDATE: (
        Update,
        (
            Field(8, "root", CID),
            Field(9, "bytes", COUNT),
            Field(10, "lineage", octets(8, 8)),
            Field(11, "signature", octets(8, 8)),
            Field(12, "age", COUNT),
            Field(13, "young", FLAG),
            Field(14, "own_steps", COUNT),
            Field(15, "samples", COUNT),
            Field(16, "step_seconds", SECONDS),
            Field(17, "codec", NAME),
            Field(18, "base", CID, optional=True),
            Field(19, "loss", REAL, optional=True),
            Field(20, "sketch", octets(0, SKETCH_BYTES), optional=True),
        ),
    ),
    Kind.SLICE: (
        Slice,
        (
            Field(8, "root", CID),
            Field(9, "bytes", COUNT),
            Field(10, "schema", octets(1, 32)),
            Field(11, "rows", COUNT),
            Field(12, "labels", LABEL_COUNTS, optional=True),
        ),
    ),
    Kind.SAMPLE: (Sample, (Field(8, "payload", octets(0, SAMPLE_BYTES)),)),
    Kind.PRESENT: (
        Present,
        (
            Field(8, "hints", HINTS, optional=True),
            Field(9, "role", NAME),
            Field(10, "versions", VERSIONS),
        ),
    ),
    Kind.LEAVING: (Leaving, ()),
}


def dump_body(kind: Kind, body: Body) -> dict[int, Any]:
    """The fields by number. Raises whatever a value of a wrong type raises."""
    _, fields = _BODIES[kind]
    values = ((field, getattr(body, field.name)) for field in fields)
    return {field.number: field.wire.dump(value) for field, value in values if not (field.optional and value in _NOTHING)}


def load_body(kind: Kind, numbers: Mapping[Any, Any]) -> Body:
    """The body in these fields; numbers that version 1 does not know are ignored. Raises UpdateRejected."""
    cls, fields = _BODIES[kind]
    values = {field.name: field.wire.load(numbers[field.number], field.name) for field in fields if _there(field, numbers)}
    return cls(**values)


def _there(field: Field, numbers: Mapping[Any, Any]) -> bool:
    if field.number not in numbers and not field.optional:
        raise UpdateRejected("malformed", f"{field.name} is missing")
    return field.number in numbers
