from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import cbor2
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from learnae.content.cids import check, dag_cid, is_dag
from learnae.content.encryption import AesSiv, Encryption, NoEncryption
from learnae.content.meta import ByteRange, Limits
from learnae.content.pack import Packed, pack
from learnae.content.roots import decode_root
from learnae.content.unpack import Content, Manifest
from learnae.errors import UpdateRejectedError
from learnae.records import MEGABYTE, AnnouncementKind, Block, Cid, Encoded, PeerId, TensorSpec

PEER = PeerId("0f" * 32)
KIB = 1024
LIMIT = 64 * MEGABYTE


class Stamp:
    """A seal that can be seen: 16 bytes before the data."""

    overhead = 16

    def seal(self, data: bytes | memoryview) -> bytes:
        return hashlib.sha256(data).digest()[:16] + data

    def open(self, data: bytes) -> bytes:
        if self.seal(data[16:]) != data:
            raise UpdateRejectedError("seal")
        return data[16:]


SEALS = [NoEncryption(), Stamp(), AesSiv(bytes(AesSiv.KEY_BYTES))]
sizes = st.lists(st.sampled_from([0, 1, 5, 1000, 100 * KIB, 128 * KIB, 512 * KIB - 16, 512 * KIB, 513 * KIB, 1200 * KIB]), max_size=8)


def tensors(*sizes: int) -> list[tuple[TensorSpec, Encoded]]:
    """One of each size, all different: tensor number i is full of bytes i."""
    return [
        (TensorSpec(name=f"t{i}", dtype="float32", shape=(size,)), Encoded(bytes([i % 256]) * size, {"i": i}))
        for i, size in enumerate(sizes)
    ]


def packed(entries: list[tuple[TensorSpec, Encoded]], **changes: Any) -> Packed:
    return pack(entries, **{"peer": PEER, "kind": AnnouncementKind.UPDATE, "number": 1, "codec": "raw", **changes})


def by_cid(blocks: Sequence[Block]) -> dict[Cid, bytes]:
    return {block.cid: block.data for block in blocks}


def read_manifest(root: Cid, store: Mapping[Cid, bytes], encryption: Encryption = SEALS[0]) -> Manifest:
    async def read(cids: Sequence[Cid]) -> Mapping[Cid, bytes]:
        return {cid: store[cid] for cid in cids}

    async def run() -> Manifest:
        return await Manifest.read(root, read, Limits(LIMIT), encryption)

    return trio.run(run)


def unpacked(result: Packed, encryption: Encryption = SEALS[0]) -> Content:
    store = by_cid(result.blocks)
    manifest = read_manifest(result.root, store, encryption)
    content = Content(manifest.meta, manifest.data_cids, {cid: store[cid] for cid in manifest.data_cids}, encryption)
    content.check()
    return content


def data_blocks(result: Packed) -> list[Block]:
    return [block for block in result.blocks if not is_dag(block.cid)]


@pytest.mark.parametrize("encryption", SEALS, ids=["open", "stamped", "sealed"])
@given(sizes=sizes)
@settings(max_examples=40)
def test_what_was_packed_comes_out_again(encryption: Encryption, sizes: list[int]) -> None:
    entries = tensors(*sizes)
    result = packed(entries, encryption=encryption)
    content = unpacked(result, encryption)
    assert [(spec, content.encoded(spec.name)) for spec in content.meta.specs] == entries
    assert all(map(check, result.blocks))
    assert (
        result.bytes
        == sum(len(block.data) for block in result.blocks)
        == read_manifest(result.root, by_cid(result.blocks), encryption=encryption).bytes
    )


@given(sizes=sizes)
@settings(max_examples=20)
def test_the_same_input_gives_the_same_blocks(sizes: list[int]) -> None:
    assert packed(tensors(*sizes)) == packed(iter(tensors(*sizes)))  # type: ignore[arg-type]


def test_the_form_of_an_update_is_the_documented_one() -> None:
    """Built here once more by hand with another CBOR library, so that no version of Learnae changes it unnoticed."""

    def link(codec: int, data: bytes) -> cbor2.CBORTag:
        return cbor2.CBORTag(42, b"\0\x01" + bytes([codec]) + b"\x12\x20" + hashlib.sha256(data).digest())

    data = b"\0" * 8 + b"\1" * 4
    rows = [["t0", "float32", [8], {"i": 0}, 0, 0, 8], ["t1", "float32", [4], {"i": 1}, 0, 8, 4]]
    head = {"base": "", "kind": 1, "peer": PEER, "codec": "raw", "number": 1, "parents": [], "tensors": rows}
    meta = cbor2.dumps(head)
    part = cbor2.dumps({"blocks": [link(0x55, data)]})
    root = cbor2.dumps({"v": 1, "meta": link(0x71, meta), "parts": [link(0x71, part)]})
    assert [block.data for block in packed(tensors(8, 4)).blocks] == [root, part, meta, data]


@given(sizes=sizes, encryption=st.sampled_from(SEALS))
@settings(max_examples=20)
def test_no_dag_cbor_block_holds_a_byte_string_that_is_not_a_link(sizes: list[int], encryption: Encryption) -> None:
    def walk(value: object) -> None:
        if isinstance(value, cbor2.CBORTag):
            assert value.tag == 42 and value.value[:5] in (b"\0\x01\x55\x12\x20", b"\0\x01\x71\x12\x20") and len(value.value) == 37
            return
        assert isinstance(value, (dict, list, str, int, float)), value
        for item in (*value.keys(), *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(item)

    for block in packed(tensors(*sizes), encryption=encryption, parents=[dag_cid(b"")], base=dag_cid(b"")).blocks:
        if is_dag(block.cid):
            walk(cbor2.loads(block.data))


def test_small_tensors_share_a_block_and_large_ones_start_their_own() -> None:
    content = unpacked(packed(tensors(100, 128 * KIB, 50, 600 * KIB, 7)))
    assert [entry.place for entry in content.meta.tensors] == [
        ByteRange(0, 0, 100),
        ByteRange(1, 0, 128 * KIB),
        ByteRange(0, 100, 50),
        ByteRange(2, 0, 600 * KIB),
        ByteRange(0, 150, 7),
    ]
    assert [len(content.blocks[cid]) for cid in content.data_cids] == [157, 128 * KIB, 512 * KIB, 88 * KIB]


def test_a_shared_block_is_full_before_the_next_begins() -> None:
    content = unpacked(packed(tensors(*[100 * KIB] * 6)))
    assert [entry.place.block for entry in content.meta.tensors] == [0, 0, 0, 0, 0, 1]


def test_a_change_leaves_the_blocks_of_other_large_tensors_alone() -> None:
    before = tensors(100, 700 * KIB, 50, 200 * KIB)
    after = [(spec, Encoded(b"\xff" * len(encoded.data)) if spec.name == "t3" else encoded) for spec, encoded in before]
    kept = by_cid(data_blocks(packed(before))).keys() & by_cid(data_blocks(packed(after, number=2))).keys()
    assert len(kept) == 3  # the shared block and two of t1


def test_peers_with_equal_tensors_have_equal_data_but_roots_of_their_own() -> None:
    one, other = packed(tensors(5, 600 * KIB)), packed(tensors(5, 600 * KIB), peer="f0" * 32)
    assert data_blocks(one) == data_blocks(other)
    assert one.root != other.root
    assert packed(tensors(5), number=2).root != packed(tensors(5)).root


def test_equal_blocks_are_sent_once() -> None:
    entries = [(TensorSpec(name=name, dtype="float32", shape=(1,)), Encoded(bytes(512 * KIB))) for name in "abc"]
    result = packed(entries)
    assert len(data_blocks(result)) == 1
    assert result.bytes < 513 * KIB
    content = unpacked(result)
    assert len(content.data_cids) == 3 and content.encoded("c").data == bytes(512 * KIB)


def test_a_tensor_that_fills_its_block_is_not_copied() -> None:
    content = unpacked(packed(tensors(300 * KIB)))
    assert content.encoded("t0").data is content.blocks[content.data_cids[0]]


def test_a_model_of_ten_thousand_tensors_comes_through() -> None:
    entries = [
        (TensorSpec(name=f"model.layers.{i}.attention.projection.weight", dtype="float32", shape=(3,)), Encoded(b"abc"))
        for i in range(10_000)
    ]
    for encryption in SEALS:
        result = packed(entries, encryption=encryption)
        content = unpacked(result, encryption)
        assert len(content.meta.tensors) == 10_000
        assert content.encoded(entries[-1][0].name).data == b"abc"
        assert len(result.blocks) == 1 + 1 + (1 + 2) + 1  # root, part, a list of two pages, data


def test_a_sealed_update_shows_no_byte_of_its_meta_or_data() -> None:
    result = packed(tensors(40), encryption=SEALS[1])
    top = decode_root(by_cid(result.blocks)[result.root], 1)
    assert not is_dag(top.meta)
    assert by_cid(result.blocks)[top.meta] == Stamp().seal(by_cid(result.blocks)[top.meta][16:])


def test_an_update_without_tensors_has_no_parts() -> None:
    result = packed([])
    assert len(result.blocks) == 2
    assert unpacked(result).meta.tensors == ()


def test_two_tensors_of_one_name_are_an_error() -> None:
    with pytest.raises(ValueError, match="two tensors of one name"):
        packed(tensors(4) + tensors(4))


def test_a_block_that_was_sealed_with_another_key_is_rejected_by_the_check() -> None:
    result = packed(tensors(5), encryption=SEALS[1])
    manifest = read_manifest(result.root, by_cid(result.blocks), SEALS[1])
    with pytest.raises(UpdateRejectedError, match="seal"):
        Content(manifest.meta, manifest.data_cids, {manifest.data_cids[0]: bytes(21)}, SEALS[1]).check()
