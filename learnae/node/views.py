"""A peer's view of what others gave: a small record that stands by itself, signed, so that it can be shown to anybody.

It is canonical dag-cbor, `{v, swarm, peer, round, given, signature}`. `given` has a row for each peer, by rising keys. Byte strings do not
occur in it (`learnae.content.roots` says why), so swarm and signature are hexadecimal. It travels like a slice: root, parts, meta, and one
tensor of bytes; in a private swarm sealed like all content.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import attrs

from learnae.content import validators
from learnae.content.encryption import NO_ENCRYPTION, Encryption
from learnae.content.meta import Limits
from learnae.content.pack import Packed, pack
from learnae.content.roots import decode_dag, encode_dag
from learnae.content.scan import Form
from learnae.content.unpack import Content
from learnae.errors import UpdateRejectedError
from learnae.identity.keys import Identity, verify
from learnae.identity.swarms import SWARM_BYTES
from learnae.node.contributions import Contribution, PeerContribution
from learnae.records import AnnouncementKind, Encoded, PeerId, TensorSpec

VERSION = 1
MOST_PEERS = 256
MOST_VIEW_BYTES = 64 << 10
VIEW_LIMITS = Limits(
    bytes=MOST_VIEW_BYTES + (16 << 10), tensors=1, pages=1, meta_bytes=4 << 10, name=32, dims=1, notes=0, text=32, parents=0
)
"""The record, and what stands around it."""

LARGEST = 1e15

_SIGNED = b"learnae/contributions/1"
_NAME, _CODEC = "contributions", "raw"
_KEYS = ("v", "swarm", "peer", "round", "given", "signature")
_COLUMNS = 10
_FORM = Form(items=16 + (_COLUMNS + 1) * MOST_PEERS, containers=2 + MOST_PEERS, depth=3)
_SWARM, _SIGNATURE = re.compile(f"[0-9a-f]{{{2 * SWARM_BYTES}}}"), re.compile("[0-9a-f]{128}")


@attrs.frozen
class GivenBy:
    """A row of a view: what this peer gave to the one that signed it, and over how many seconds."""

    peer: PeerId
    seconds: float
    given: Contribution


@attrs.frozen
class ContributionView:
    """What one peer says of others. `round` is its own number of the round before it was signed: of two views the later one has more."""

    swarm: bytes
    peer: PeerId
    round: int
    given: tuple[GivenBy, ...]


def view_of(found: Iterable[PeerContribution], *, swarm: bytes, peer: PeerId, round_: int) -> ContributionView:
    """Of those that gave most, as many as a view has room for. `found` has them first."""
    rows = [GivenBy(one.peer, max(0.0, one.last_at - one.first_at), one.given) for one in found if one.peer != peer]
    return ContributionView(swarm, peer, round_, tuple(sorted(rows[:MOST_PEERS], key=lambda row: row.peer)))


def encode_view(view: ContributionView, identity: Identity) -> bytes:
    """Sign it. Raises ValueError for one that others would refuse."""
    record = _record(view)
    data = encode_dag({**record, "signature": identity.sign(_SIGNED + encode_dag(record)).hex()})
    try:
        decode_view(data, swarm=view.swarm, peer=identity.peer)
    except UpdateRejectedError as error:
        raise ValueError(f"others would refuse this view: {error}") from error
    return data


def decode_view(data: bytes, *, peer: PeerId, swarm: bytes | None = None) -> ContributionView:
    """A view that anybody may have written, of any swarm if none is named. The signature is checked last, because that costs most.

    Raises UpdateRejectedError: "oversized", "malformed", "not-canonical", "version", "foreign" (of another swarm), "not-the-announced" (of
    another peer) or "signature".
    """
    value = decode_dag(data, _KEYS, _FORM, longest=MOST_VIEW_BYTES)
    if type(value["v"]) is not int or value["v"] != VERSION:
        raise UpdateRejectedError("version", f"a view that is not of version {VERSION}")
    found = value["swarm"]
    if type(found) is not str or not _SWARM.fullmatch(found):
        raise validators.malformed("the swarm", f"{SWARM_BYTES} bytes in hexadecimal")
    if swarm is not None and found != swarm.hex():
        raise UpdateRejectedError("foreign", "a view of another swarm")
    if value["peer"] != peer:
        raise UpdateRejectedError("not-the-announced", "a view of another peer")
    signature = value.pop("signature")
    if type(signature) is not str or not _SIGNATURE.fullmatch(signature):
        raise validators.malformed("the signature", "64 bytes in hexadecimal")
    rows = tuple(_row(row) for row in validators.items(value["given"], "given", MOST_PEERS))
    keys = [row.peer for row in rows]
    if keys != sorted(set(keys)) or peer in keys:
        raise validators.malformed("given", "a row for each other peer, by rising keys")
    view = ContributionView(bytes.fromhex(found), peer, validators.integer(value["round"], "the round"), rows)
    if not verify(peer, bytes.fromhex(signature), _SIGNED + encode_dag(value)):
        raise UpdateRejectedError("signature", f"not signed by {peer[:8]}")
    return view


def pack_view(data: bytes, peer: PeerId, encryption: Encryption = NO_ENCRYPTION) -> Packed:
    """As content, for the storages."""
    tensor = TensorSpec(name=_NAME, dtype="uint8", shape=(len(data),)), Encoded(data)
    return pack([tensor], peer=peer, kind=AnnouncementKind.PRESENT, number=0, codec=_CODEC, encryption=encryption)


def unpack_view(content: Content) -> bytes:
    """The bytes of a view that was fetched. Raises UpdateRejectedError, UnavailableError."""
    content.check()
    specs = [entry.spec for entry in content.meta.tensors]
    if content.meta.kind is not AnnouncementKind.PRESENT or len(specs) != 1 or specs[0].name != _NAME or specs[0].dtype != "uint8":
        raise UpdateRejectedError("kind", "fetched as a view, and it is none")
    return bytes(content.encoded(_NAME).data)


def _record(view: ContributionView) -> dict[str, Any]:
    given = [[row.peer, float(row.seconds), *attrs.astuple(row.given)] for row in view.given]
    return {"v": VERSION, "swarm": view.swarm.hex(), "peer": view.peer, "round": view.round, "given": given}


def _row(value: Any) -> GivenBy:
    if type(value) is not list or len(value) != _COLUMNS:
        raise validators.malformed("a row", f"a list of {_COLUMNS}")
    peer, seconds, merged, weight, refused, failed, rows, size, evaluated, change = value
    count = validators.integer
    given = Contribution(
        merged=count(merged, "merged"),
        weight=_bounded(validators.real(weight, "weight", low=0.0)),
        refused=count(refused, "refused"),
        failed=count(failed, "failed"),
        rows=count(rows, "rows"),
        bytes=count(size, "bytes"),
        evaluated=count(evaluated, "evaluated"),
        loss_change=_bounded(validators.real(change, "loss_change")),
    )
    return GivenBy(validators.peer(peer, "a peer"), _bounded(validators.real(seconds, "seconds", low=0.0)), given)


def _bounded(number: float) -> float:
    if abs(number) > LARGEST:
        raise validators.malformed("a number", f"at most {LARGEST:g}")
    return number
