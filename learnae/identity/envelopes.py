"""The envelope of an announcement: version (1 byte), public key (32), signature (64), payload (canonical CBOR); encrypted if private.

0 to 2 are the head, 3 to 7 are kept for it, the bodies begin at 8. Numbers are never used again for another meaning.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NoReturn

import attrs
import cbor2

from learnae.content import validators
from learnae.content.cids import CID_BYTES, cid_bytes, cid_text
from learnae.content.encryption import NO_ENCRYPTION, Encryption
from learnae.content.scan import Form, look_over
from learnae.errors import UpdateRejectedError, renamed_argument
from learnae.identity.keys import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Identity, verify
from learnae.identity.swarms import SWARM_BYTES
from learnae.records import Announcement, AnnouncementKind, Body, Leaving, PeerId, Present, Sample, Slice, Update

NAMES = 8  # storages in `hints`, hints of one storage, versions
NAME_CHARACTERS = 64
HINT_CHARACTERS = 200
LABELS = 64


@attrs.frozen
class FieldFormat:
    """`load(value, what)` raises UpdateRejectedError for what `dump` never makes."""

    load: Callable[[Any, str], Any]
    dump: Callable[[Any], Any] = lambda value: value


def octets(low: int, high: int) -> FieldFormat:
    return FieldFormat(partial(validators.octets, low=low, high=high), bytes)


def _cid(value: Any, what: str) -> Any:
    return cid_text(validators.octets(value, what, CID_BYTES, CID_BYTES))


def _labels(value: Any, what: str) -> dict[str, int]:
    entries = validators.table(value, what, LABELS).items()
    return {validators.text(name, what, NAME_CHARACTERS): validators.integer(count, what) for name, count in entries}


def _hints(value: Any, what: str) -> dict[str, tuple[str, ...]]:
    entries = validators.table(value, what, NAMES).items()
    return {validators.text(name, what, NAME_CHARACTERS): _texts(hints, what) for name, hints in entries}


def _texts(value: Any, what: str) -> tuple[str, ...]:
    return tuple(validators.text(text, what, HINT_CHARACTERS) for text in validators.items(value, what, NAMES))


def _versions(value: Any, what: str) -> tuple[int, ...]:
    return tuple(validators.integer(version, what, high=255) for version in validators.items(value, what, NAMES))


COUNT = FieldFormat(validators.integer)
FLAG = FieldFormat(validators.truth)
REAL = FieldFormat(validators.real, float)
SECONDS = FieldFormat(partial(validators.real, low=0.0), float)
NAME = FieldFormat(partial(validators.text, limit=NAME_CHARACTERS))
CID = FieldFormat(_cid, cid_bytes)
LABEL_COUNTS = FieldFormat(_labels, dict)
HINTS = FieldFormat(_hints, lambda hints: {name: list(texts) for name, texts in hints.items()})
VERSIONS = FieldFormat(_versions, list)


SKETCH_BYTES = 400
SAMPLE_BYTES = 850  # with all that stands around it, sealed, it fits into ENVELOPE_BYTES

_NOTHING: tuple[object, ...] = (None, b"", {})


@attrs.frozen
class Field:
    """One field of a body. An optional one is left out where it has its default."""

    number: int
    name: str
    wire: FieldFormat
    optional: bool = False


_BODIES: Mapping[AnnouncementKind, tuple[type[Body], tuple[Field, ...]]] = {
    AnnouncementKind.UPDATE: (
        Update,
        (
            Field(8, "root", CID),
            Field(9, "bytes", COUNT),
            Field(10, "lineage", octets(8, 8)),
            Field(11, "architecture", octets(8, 8)),
            Field(12, "age", COUNT),
            Field(13, "provisional", FLAG),
            Field(14, "own_steps", COUNT),
            Field(15, "samples", COUNT),
            Field(16, "step_seconds", SECONDS),
            Field(17, "codec", NAME),
            Field(18, "base", CID, optional=True),
            Field(19, "loss", REAL, optional=True),
            Field(20, "sketch", octets(0, SKETCH_BYTES), optional=True),
        ),
    ),
    AnnouncementKind.SLICE: (
        Slice,
        (
            Field(8, "root", CID),
            Field(9, "bytes", COUNT),
            Field(10, "schema", octets(1, 32)),
            Field(11, "rows", COUNT),
            Field(12, "labels", LABEL_COUNTS, optional=True),
            Field(13, "sketch", octets(0, SKETCH_BYTES), optional=True),
        ),
    ),
    AnnouncementKind.SAMPLE: (Sample, (Field(8, "payload", octets(0, SAMPLE_BYTES)),)),
    AnnouncementKind.PRESENT: (
        Present,
        (
            Field(8, "hints", HINTS, optional=True),
            Field(9, "role", NAME),
            Field(10, "versions", VERSIONS),
            Field(11, "contributions", CID, optional=True),
        ),
    ),
    AnnouncementKind.LEAVING: (Leaving, ()),
}


def dump_body(kind: AnnouncementKind, body: Body) -> dict[int, Any]:
    """The fields of a body by their numbers. Raises any exception for a value of a wrong type."""
    _, fields = _BODIES[kind]
    values = ((field, getattr(body, field.name)) for field in fields)
    return {field.number: field.wire.dump(value) for field, value in values if not (field.optional and value in _NOTHING)}


def load_body(kind: AnnouncementKind, numbers: Mapping[Any, Any]) -> Body:
    """The body in these fields. Numbers that version 1 does not know are ignored. Raises UpdateRejectedError."""
    cls, fields = _BODIES[kind]
    values = {field.name: field.wire.load(numbers[field.number], field.name) for field in fields if _there(field, numbers)}
    return cls(**values)


def _there(field: Field, numbers: Mapping[Any, Any]) -> bool:
    if field.number not in numbers and not field.optional:
        raise UpdateRejectedError("malformed", f"{field.name} is missing")
    return field.number in numbers


VERSION = 1
ENVELOPE_BYTES = 1090
"""After sealing, if the swarm is private: what fits into one IOTA transaction."""

MAX_SEQUENCE_NUMBER = 1 << 62
"""An announcement's number is at most this: a peer that hears one under its own key goes on above it, and must be able to count."""

SAMPLE_PLACES = 16
"""A medium may keep the newest message of each place alone. Samples take so many places in turn, since each of them counts."""

_SIGNED = b"learnae/announcement/1"
_HEAD_BYTES = 1 + PUBLIC_KEY_BYTES + SIGNATURE_BYTES
_SWARM, _KIND, _NUMBER = range(3)
_FORM = Form(items=256, containers=32, depth=8)  # in version 1 as many as 150, 11 and 3, with room for what later ones add
_KINDS = frozenset(AnnouncementKind)
_MAPPING, _LONG_MAPPING = 0xA0, 0xB8  # headers; behind the long one comes a byte that counts
_LONG_NUMBER, _NO_NUMBER = 0x18, 0x1C  # the same for a number
_SWARM_HEAD = bytes([_SWARM, 0x40 | SWARM_BYTES])  # the key, and the header of so many bytes


@attrs.frozen
class OpenedEnvelope:
    """A verified announcement. Two with the same peer, kind and number, and different digests, prove equivocation."""

    announcement: Announcement
    digest: bytes  # sha256 of the payload
    verified: bool = True  # an old one is not: nothing follows from it


def encode_envelope(
    identity: Identity,
    announcement: Announcement,
    limit: int = ENVELOPE_BYTES,
    *,
    encryption: Encryption | None = None,
    seal: Encryption | None = None,
) -> bytes:
    """Sign an announcement, and encrypt it if the swarm is private. The result has at most `limit` bytes.

    If it would be longer, an update goes without its sketch, a slice without its sketch or its labels or both, and a `Present` without its
    view of contributions, then with fewer hints. Raises ValueError for an announcement that other peers would refuse, or that is too large
    even so.
    """
    if seal is not None:
        both = encryption is not None
        encryption = renamed_argument("encode_envelope", "seal", "encryption", seal, clash=both, gone_in="0.2")
    encryption = NO_ENCRYPTION if encryption is None else encryption
    for body in _shrinking(announcement.body):
        payload = _dump(attrs.evolve(announcement, body=body))
        if _HEAD_BYTES + len(payload) + encryption.overhead <= limit:
            return encryption.seal(bytes([VERSION]) + bytes.fromhex(identity.peer) + identity.sign(_SIGNED + payload) + payload)
    raise ValueError(f"an announcement of kind {announcement.kind.name} does not fit into {limit} bytes")


def place_of(announcement: Announcement) -> str:
    """The name of what an announcement replaces on a medium: whoever sends it there, or passes it on, names it alike."""
    place = f"{announcement.peer}/{announcement.kind.value}"
    return f"{place}/{announcement.number % SAMPLE_PLACES}" if announcement.kind is AnnouncementKind.SAMPLE else place


def decode_envelope(
    message: bytes,
    swarm: bytes,
    encryption: Encryption = NO_ENCRYPTION,
    *,
    admit: Callable[[PeerId, AnnouncementKind], None] = lambda peer, kind: None,
    old: Callable[[Announcement, bytes], bool] = lambda announcement, digest: False,
) -> OpenedEnvelope:
    """Open a message that anybody may have written. The signature is checked last, because that costs most.

    `admit` gets the key that the message claims to come from and its kind, and may raise UpdateRejectedError. Before that nothing is
    decoded. So messages of other swarms and kinds cost no more than noise.
    A message that is `old`, by its claims and its digest, is not verified.
    Raises UpdateRejectedError: "oversized", "seal", "malformed", "version", "foreign" (of another swarm), "unknown-kind", "cid"
    or "signature".
    """
    peer, signature, payload = _parts(message, encryption)
    admit(peer, _look_at_head(payload, swarm))
    announcement, digest = _load(peer, payload, swarm), hashlib.sha256(payload).digest()
    if old(announcement, digest):
        return OpenedEnvelope(announcement, digest, verified=False)
    if not verify(peer, signature, _SIGNED + payload):
        raise UpdateRejectedError("signature", f"not signed by {peer[:8]}")
    return OpenedEnvelope(announcement, digest)


@attrs.frozen
class EnvelopeHead:
    """What stands before all else in an envelope whose signature nobody has checked."""

    peer: PeerId
    kind: AnnouncementKind
    number: int


def peek_envelope(message: bytes, swarm: bytes, encryption: Encryption = NO_ENCRYPTION) -> EnvelopeHead:
    """The head of a message that anybody may have written; nothing behind it is read. Raises UpdateRejectedError as `decode_envelope`."""
    peer, _, payload = _parts(message, encryption)
    kind = _look_at_head(payload, swarm)
    start = payload.index(_SWARM_HEAD) + len(_SWARM_HEAD) + SWARM_BYTES + 2  # behind the kind
    return EnvelopeHead(peer, kind, _number_at(payload, start))


def _parts(message: bytes, encryption: Encryption) -> tuple[PeerId, bytes, bytes]:
    """Key, signature and payload."""
    if len(message) > ENVELOPE_BYTES:
        raise UpdateRejectedError("oversized", f"{len(message)} bytes")
    data = encryption.open(message)
    if len(data) <= _HEAD_BYTES:
        raise UpdateRejectedError("malformed", f"an envelope of {len(data)} bytes")
    if data[0] != VERSION:
        raise UpdateRejectedError("version", f"version {data[0]}")
    return PeerId(data[1 : 1 + PUBLIC_KEY_BYTES].hex()), data[1 + PUBLIC_KEY_BYTES : _HEAD_BYTES], data[_HEAD_BYTES:]


def _number_at(payload: bytes, start: int) -> int:
    """The sequence number, which comes third in the canonical form. Raises UpdateRejectedError."""
    short = payload[start + 1] if payload[start : start + 1] == bytes([_NUMBER]) and len(payload) > start + 1 else _NO_NUMBER
    if short < _LONG_NUMBER:
        return short
    length = 1 << (short - _LONG_NUMBER)
    if short >= _NO_NUMBER or len(payload) < start + 2 + length:
        raise UpdateRejectedError("malformed", "its number does not come third")
    return int.from_bytes(payload[start + 2 : start + 2 + length], "big")


def _shrinking(body: Body) -> Iterator[Body]:
    """The body, and what may be sent instead of it, ever smaller."""
    if isinstance(body, Update) and body.loss is not None and not math.isfinite(body.loss):
        body = attrs.evolve(body, loss=None)
    yield body
    if isinstance(body, Update):
        yield attrs.evolve(body, sketch=b"")
    if isinstance(body, Slice):
        yield attrs.evolve(body, sketch=b"")
        yield attrs.evolve(body, labels={})
        yield attrs.evolve(body, labels={}, sketch=b"")
    if isinstance(body, Present) and body.contributions is not None:
        body = attrs.evolve(body, contributions=None)
        yield body
    while isinstance(body, Present) and any(body.hints.values()):
        body = attrs.evolve(body, hints=_without_last_of_longest(body.hints))
        yield body


def _without_last_of_longest(hints: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Every storage keeps its first hints, the ones that it thinks best."""
    longest = max(hints, key=lambda storage: len(hints[storage]))
    return {storage: texts[:-1] if storage == longest else texts for storage, texts in hints.items()}


def _dump(announcement: Announcement) -> bytes:
    """The payload, after reading it as others will."""
    head = {_SWARM: announcement.swarm, _KIND: int(announcement.kind), _NUMBER: announcement.number}
    try:
        payload = cbor2.dumps({**head, **dump_body(announcement.kind, announcement.body)}, canonical=True)
        _load(announcement.peer, payload, announcement.swarm)
    except UpdateRejectedError as error:
        raise ValueError(f"others would refuse this announcement: {error}") from error
    return payload


def _look_at_head(payload: bytes, swarm: bytes) -> AnnouncementKind:
    """Swarm and kind come first in the canonical form, each in one way of writing it. Raises UpdateRejectedError."""
    start = 2 if payload[0] == _LONG_MAPPING else 1
    end = start + len(_SWARM_HEAD) + SWARM_BYTES
    if not (_MAPPING <= payload[0] <= _LONG_MAPPING and payload.startswith(_SWARM_HEAD, start)):
        raise UpdateRejectedError("malformed", "its swarm does not come first")
    if not payload.startswith(swarm, start + len(_SWARM_HEAD)):
        raise UpdateRejectedError("foreign", "of another swarm")
    kind = payload[end + 1] if payload[end : end + 1] == bytes([_KIND]) and len(payload) > end + 1 else _NO_NUMBER
    if kind >= _NO_NUMBER:
        raise UpdateRejectedError("malformed", "its kind does not come second")
    if kind not in _KINDS:
        raise UpdateRejectedError("unknown-kind", str(kind) if kind < _LONG_NUMBER else "a high one")
    return AnnouncementKind(kind)


def _load(peer: PeerId, payload: bytes, swarm: bytes) -> Announcement:
    kind, numbers = _look_at_head(payload, swarm), _fields(payload)
    return Announcement(
        swarm=swarm,
        peer=peer,
        number=validators.integer(numbers.get(_NUMBER), "the number", high=MAX_SEQUENCE_NUMBER),
        body=load_body(kind, numbers),
    )


def _fields(payload: bytes) -> Mapping[Any, Any]:
    look_over(payload, _FORM)
    try:
        value = cbor2.loads(
            payload,
            max_depth=_FORM.depth + 1,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            semantic_decoders=defaultdict(lambda: _refuse_tag),  # else cbor2 compiles regular expressions, computes big numbers, ...
        )
        canonical = cbor2.dumps(value, canonical=True) == payload
    except Exception as error:  # whatever a stranger's bytes provoke, it is the stranger's fault
        raise UpdateRejectedError("malformed", f"no plain CBOR: {type(error).__name__}") from None
    if not canonical or type(value) is not dict or not all(type(key) is int for key in value):
        raise UpdateRejectedError("malformed", "not a mapping by numbers in canonical CBOR")
    return value


def _refuse_tag(*_: object) -> NoReturn:
    raise ValueError("a tag")
