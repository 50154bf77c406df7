"""Signed views of who gave what: read as they were written, and nothing else is."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as some

from learnae.content.encryption import NO_ENCRYPTION, AesSiv
from learnae.content.roots import encode_dag
from learnae.content.unpack import Content, Manifest
from learnae.errors import UpdateRejectedError
from learnae.identity.keys import Identity
from learnae.node import views
from learnae.node.contributions import NAMES, Contribution, PeerContribution
from learnae.node.views import (
    MOST_PEERS,
    MOST_VIEW_BYTES,
    VIEW_LIMITS,
    ContributionView,
    GivenBy,
    decode_view,
    encode_view,
    pack_view,
    unpack_view,
    view_of,
)
from learnae.records import AnnouncementKind, PeerId, TensorSpec

ME = Identity.generate(b"m" * 32)
OTHER = Identity.generate(b"o" * 32)
SWARM = b"s" * 16
ALICE, BOB = PeerId("a" * 64), PeerId("b" * 64)
GIVEN = Contribution(merged=3, weight=2.5, bytes=900, evaluated=1, loss_change=-0.5)
VIEW = ContributionView(SWARM, ME.peer, 7, (GivenBy(ALICE, 60.0, GIVEN),))

counts = some.integers(0, (1 << 63) - 1)
numbers = some.floats(0.0, 1e15)
contributions = some.builds(
    Contribution,
    merged=counts,
    weight=numbers,
    refused=counts,
    failed=counts,
    rows=counts,
    bytes=counts,
    evaluated=counts,
    loss_change=some.floats(-1e15, 1e15),
)


@drawn(some.dictionaries(some.integers(0, 1 << 200), some.tuples(numbers, contributions), max_size=5), counts)
def test_a_view_is_read_as_it_was_signed(rows: dict[int, tuple[float, Contribution]], round_: int) -> None:
    given = tuple(GivenBy(PeerId(f"{number:064x}"), seconds, one) for number, (seconds, one) in sorted(rows.items()))
    view = ContributionView(SWARM, ME.peer, round_, given)
    assert decode_view(encode_view(view, ME), swarm=SWARM, peer=ME.peer) == view


@drawn(some.data())
def test_whatever_one_byte_is_turned_into_the_view_is_refused(data: some.DataObject) -> None:
    whole = bytearray(encode_view(VIEW, ME))
    whole[data.draw(some.integers(0, len(whole) - 1))] ^= data.draw(some.integers(1, 255))
    with pytest.raises(UpdateRejectedError):
        decode_view(bytes(whole), swarm=SWARM, peer=ME.peer)


@drawn(some.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(UpdateRejectedError):
        decode_view(noise, peer=ME.peer)


def signed(**changes: Any) -> bytes:
    """With these fields, signed as they are."""
    record = {**views._record(VIEW), **changes}
    return encode_dag({**record, "signature": ME.sign(b"learnae/contributions/1" + encode_dag(record)).hex()})


ROW = views._record(VIEW)["given"][0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"v": 2}, "version"),
        ({"v": True}, "version"),
        ({"swarm": "00" * 16}, "foreign"),
        ({"swarm": "s"}, "malformed"),
        ({"peer": OTHER.peer}, "not-the-announced"),
        ({"round": -1}, "malformed"),
        ({"given": [ROW, ROW]}, "malformed"),
        ({"given": [[BOB, *ROW[1:]], ROW]}, "malformed"),
        ({"given": [[ME.peer, *ROW[1:]]]}, "malformed"),
        ({"given": [["a" * 63, *ROW[1:]]]}, "malformed"),
        ({"given": [ROW[:-1]]}, "malformed"),
        ({"given": [[*ROW[:2], -1, *ROW[3:]]]}, "malformed"),
        ({"given": [[*ROW[:2], 1.0, *ROW[3:]]]}, "malformed"),
        ({"given": [[*ROW[:3], -0.5, *ROW[4:]]]}, "malformed"),
        ({"given": [[*ROW[:3], 2e15, *ROW[4:]]]}, "malformed"),
        ({"given": {}}, "malformed"),
        ({"more": 1}, "malformed"),
    ],
)
def test_a_view_that_says_what_no_peer_says_is_refused_though_it_is_signed(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UpdateRejectedError) as refused:
        decode_view(signed(**changes), swarm=SWARM, peer=ME.peer)
    assert refused.value.reason == reason


def test_nobody_can_sign_for_another_one_or_with_another_kind_of_signature() -> None:
    record = views._record(VIEW)
    for signature in (OTHER.sign(b"learnae/contributions/1" + encode_dag(record)), ME.sign(encode_dag(record))):
        with pytest.raises(UpdateRejectedError) as refused:
            decode_view(encode_dag({**record, "signature": signature.hex()}), swarm=SWARM, peer=ME.peer)
        assert refused.value.reason == "signature"


def test_a_view_has_those_that_gave_most_and_never_more_than_it_has_room_for() -> None:
    huge = Contribution(**{name: 1e15 if name in ("weight", "loss_change") else (1 << 63) - 1 for name in NAMES})
    found = [PeerContribution(PeerId(f"{number:064x}"), 0.0, 1e9, huge) for number in range(MOST_PEERS + 50, 0, -1)]
    view = view_of([PeerContribution(ME.peer, 0.0, 1.0, huge), *found], swarm=SWARM, peer=ME.peer, round_=(1 << 63) - 1)
    assert len(view.given) == MOST_PEERS
    assert {row.peer for row in view.given} == {one.peer for one in found[:MOST_PEERS]}
    assert len(encode_view(view, ME)) <= MOST_VIEW_BYTES


@pytest.mark.parametrize("encryption", [NO_ENCRYPTION, AesSiv(bytes(64))], ids=["open", "private"])
async def test_it_travels_as_content_and_sealed_in_a_private_swarm(encryption: Any) -> None:
    data = encode_view(VIEW, ME)
    packed = pack_view(data, ME.peer, encryption)
    blocks = {block.cid: block.data for block in packed.blocks}
    assert (ALICE.encode() in b"".join(blocks.values())) == (encryption is NO_ENCRYPTION)

    async def read(cids: Any) -> Any:
        return {cid: blocks[cid] for cid in cids}

    manifest = await Manifest.read(packed.root, read, VIEW_LIMITS, encryption)
    content = Content(manifest.meta, manifest.data_cids, await read(manifest.data_cids), encryption)
    assert decode_view(unpack_view(content), swarm=SWARM, peer=ME.peer) == VIEW
    spec = TensorSpec(name="contributions", dtype="uint8", shape=(3,))
    for changed in (
        attrs.evolve(content.meta, kind=AnnouncementKind.SLICE),
        attrs.evolve(content.meta, tensors=()),
        attrs.evolve(content.meta, tensors=(attrs.evolve(content.meta.tensors[0], spec=attrs.evolve(spec, name="other")),)),
    ):
        with pytest.raises(UpdateRejectedError):
            unpack_view(attrs.evolve(content, meta=changed))
