"""The envelope of an announcement: version (1 byte), public key (32), signature (64), payload (canonical CBOR); then sealed, if private."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import attrs
import cbor2

from learnae.content import expect
from learnae.content.seals import OPEN, Seal
from learnae.errors import UpdateRejected
from learnae.identity.bodies import dump_body, load_body
from learnae.identity.keys import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Identity, verify
from learnae.identity.swarms import SWARM_BYTES
from learnae.records import Announcement, Body, Kind, PeerId, Present, Update

VERSION = 1
ENVELOPE_BYTES = 1090
"""After sealing, if the swarm is private: what fits into one IOTA transaction."""

MOST_NUMBERS = 1 << 62
"""An announcement's number is at most this: a peer that hears one under its own key goes on above it, and must be able to count."""

_SIGNED = b"learnae/announcement/1"
_HEAD_BYTES = 1 + PUBLIC_KEY_BYTES + SIGNATURE_BYTES
_SWARM, _KIND, _NUMBER = range(3)
_DEEPEST = 8  # version 1 nests 3 deep


@attrs.frozen
class Opened:
    """A verified announcement; two of one (peer, kind, number) with different digests prove equivocation."""

    announcement: Announcement
    digest: bytes  # sha256 of the payload
    verified: bool = True  # an old one is not: nothing follows from it


def encode_envelope(identity: Identity, announcement: Announcement, limit: int = ENVELOPE_BYTES, *, seal: Seal = OPEN) -> bytes:
    """Sign an announcement and seal it, in at most `limit` bytes: if it must, an update goes without its sketch, a `present` with less.

    Raises ValueError for one that others would refuse, or that is too large even so.
    """
    for body in _shrinking(announcement.body):
        payload = _dump(attrs.evolve(announcement, body=body))
        if _HEAD_BYTES + len(payload) + seal.overhead <= limit:
            return seal.seal(bytes([VERSION]) + bytes.fromhex(identity.peer) + identity.sign(_SIGNED + payload) + payload)
    raise ValueError(f"an announcement of kind {announcement.kind.name} does not fit into {limit} bytes")


def decode_envelope(
    message: bytes,
    swarm: bytes,
    seal: Seal = OPEN,
    *,
    admit: Callable[[PeerId], None] = lambda peer: None,
    old: Callable[[Announcement, bytes], bool] = lambda announcement, digest: False,
) -> Opened:
    """Open a message that anybody may have written; the signature, the dearest check, comes last.

    `admit` is told whose it claims to be, and may raise UpdateRejected. What is `old`, by what it says and its digest, is not verified.
    Raises UpdateRejected: "oversized", "seal", "malformed", "version", "foreign" (of another swarm), "unknown-kind", "cid" or "signature".
    """
    if len(message) > ENVELOPE_BYTES:
        raise UpdateRejected("oversized", f"{len(message)} bytes")
    data = seal.open(message)
    if len(data) <= _HEAD_BYTES:
        raise UpdateRejected("malformed", f"an envelope of {len(data)} bytes")
    if data[0] != VERSION:
        raise UpdateRejected("version", f"version {data[0]}")
    peer = PeerId(data[1 : 1 + PUBLIC_KEY_BYTES].hex())
    signature, payload = data[1 + PUBLIC_KEY_BYTES : _HEAD_BYTES], data[_HEAD_BYTES:]
    admit(peer)
    announcement, digest = _load(peer, payload, swarm), hashlib.sha256(payload).digest()
    if old(announcement, digest):
        return Opened(announcement, digest, verified=False)
    if not verify(peer, signature, _SIGNED + payload):
        raise UpdateRejected("signature", f"not signed by {peer[:8]}")
    return Opened(announcement, digest)


def _shrinking(body: Body) -> Iterator[Body]:
    """The body, and what may be sent instead of it, ever smaller."""
    if isinstance(body, Update) and body.loss is not None and not math.isfinite(body.loss):
        body = attrs.evolve(body, loss=None)
    yield body
    if isinstance(body, Update):
        yield attrs.evolve(body, sketch=b"")
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
    except UpdateRejected as error:
        raise ValueError(f"others would refuse this announcement: {error}") from error
    return payload


def _load(peer: PeerId, payload: bytes, swarm: bytes) -> Announcement:
    numbers = _fields(payload)
    if expect.octets(numbers.get(_SWARM), "the swarm", SWARM_BYTES, SWARM_BYTES) != swarm:
        raise UpdateRejected("foreign", "of another swarm")
    kind = expect.integer(numbers.get(_KIND), "the kind")
    if kind not in set(Kind):
        raise UpdateRejected("unknown-kind", str(kind))
    return Announcement(swarm, peer, expect.integer(numbers.get(_NUMBER), "the number", high=MOST_NUMBERS), load_body(Kind(kind), numbers))


def _fields(payload: bytes) -> Mapping[Any, Any]:
    try:
        value = cbor2.loads(
            payload,
            max_depth=_DEEPEST,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            semantic_decoders=defaultdict(lambda: _refuse_tag),  # else cbor2 compiles regular expressions, computes big numbers, ...
        )
        canonical = cbor2.dumps(value, canonical=True) == payload
    except Exception as error:  # whatever a stranger's bytes provoke, it is the stranger's fault
        raise UpdateRejected("malformed", f"no plain CBOR: {type(error).__name__}") from None
    if not canonical or type(value) is not dict or not all(type(key) is int for key in value):
        raise UpdateRejected("malformed", "not a mapping by numbers in canonical CBOR")
    return value


def _refuse_tag(*_: object) -> NoReturn:
    raise ValueError("a tag")
