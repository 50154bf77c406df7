"""Whoever publishes can name any bytes by their true hash: only the form protects the reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from learnae.content.cids import dag_cid, is_dag, raw_cid
from learnae.content.meta import Limits
from learnae.content.pack import Packed, pack
from learnae.content.roots import Root, decode_root, encode_part, encode_root
from learnae.content.unpack import Content, Manifest
from learnae.errors import UnavailableError, UpdateRejectedError
from learnae.records import MEGABYTE, AnnouncementKind, Block, Cid, Encoded, PeerId, TensorSpec

PEER = PeerId("0f" * 32)
KIB = 1024
LIMIT = 64 * MEGABYTE


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


def read_manifest(root: Cid, store: Mapping[Cid, bytes], limit: int = LIMIT) -> Manifest:
    async def read(cids: Sequence[Cid]) -> Mapping[Cid, bytes]:
        if missing := [cid for cid in cids if cid not in store]:
            raise UnavailableError("not in this test", missing)
        return {cid: store[cid] for cid in cids}

    async def run() -> Manifest:
        return await Manifest.read(root, read, Limits(limit))

    return trio.run(run)


def data_blocks(result: Packed) -> list[Block]:
    return [block for block in result.blocks if not is_dag(block.cid)]


def test_more_bytes_than_expected_are_refused_before_the_data_is_fetched() -> None:
    result = packed(tensors(600 * KIB))
    known = {block.cid: block.data for block in result.blocks if is_dag(block.cid)}
    assert read_manifest(result.root, known, result.bytes).bytes == result.bytes
    with pytest.raises(UpdateRejectedError, match="too-large"):
        read_manifest(result.root, known, result.bytes - 1)


def test_a_block_that_stands_in_many_places_counts_in_each_of_them() -> None:
    """One of 512 KiB, listed many times, became 82 MiB."""
    many = [(TensorSpec(name=f"t{i}", dtype="float32", shape=(512 * KIB,)), Encoded(bytes(512 * KIB), {})) for i in range(20)]
    result = packed(many)
    store = by_cid(result.blocks)
    assert result.bytes < 600 * KIB
    assert read_manifest(result.root, store, 20 * 512 * KIB).bytes == result.bytes
    with pytest.raises(UpdateRejectedError, match="too-large"):
        read_manifest(result.root, store, 20 * 512 * KIB - 1)


def tampered(result: Packed, **changes: Any) -> tuple[Cid, dict[Cid, bytes]]:
    store = by_cid(result.blocks)
    root = encode_root(attrs.evolve(decode_root(store[result.root], 100), **changes))
    return root.cid, {**store, root.cid: root.data}


def test_roots_parts_and_pages_under_raw_cids_are_rejected() -> None:
    result = packed(tensors(5))
    store = by_cid(result.blocks)
    top = decode_root(store[result.root], 1)
    raw = {cid: raw_cid(store[cid]) for cid in (result.root, top.meta, *top.parts)}
    for root, blocks in (
        (raw[result.root], store),
        tampered(result, meta=raw[top.meta]),
        tampered(result, parts=(raw[top.parts[0]],)),
    ):
        with pytest.raises(UpdateRejectedError, match="a raw block where dag-cbor belongs"):
            read_manifest(root, blocks | {raw[cid]: store[cid] for cid in raw})


def test_data_in_dag_cbor_is_rejected() -> None:
    result = packed(tensors(5))
    part = encode_part([dag_cid(b"x")])
    root, store = tampered(result, parts=(part.cid,))
    with pytest.raises(UpdateRejectedError, match="cid"):
        read_manifest(root, {**store, part.cid: part.data})


def test_blocks_that_hold_no_tensor_are_rejected_before_they_are_fetched() -> None:
    result = packed(tensors(5))
    part = encode_part([data_blocks(result)[0].cid, raw_cid(b"junk")])
    root, store = tampered(result, parts=(part.cid,))
    with pytest.raises(UpdateRejectedError, match="holds no tensor"):
        read_manifest(root, {**store, part.cid: part.data})


def test_a_list_of_one_page_is_not_the_usual_form() -> None:
    result = packed(tensors(5))
    part = encode_part([decode_root(by_cid(result.blocks)[result.root], 1).meta])
    root, store = tampered(result, meta=part.cid)
    with pytest.raises(UpdateRejectedError, match="1 pages"):
        read_manifest(root, {**store, part.cid: part.data})


def test_a_list_of_too_many_pages_is_rejected_before_they_are_fetched() -> None:
    part = encode_part([dag_cid(bytes([index])) for index in range(65)])
    root = encode_root(Root(part.cid, ()))
    with pytest.raises(UpdateRejectedError, match="65 pages"):
        read_manifest(root.cid, by_cid([root, part]))


@pytest.mark.parametrize("length", [4, 6])
def test_a_block_of_another_length_than_the_meta_says_is_rejected(length: int) -> None:
    result = packed(tensors(5))
    block = Block(raw_cid(bytes(length)), bytes(length))
    part = encode_part([block.cid])
    root, store = tampered(result, parts=(part.cid,))
    manifest = read_manifest(root, {**store, part.cid: part.data})
    with pytest.raises(UpdateRejectedError, match=f"a block of {length} bytes where the meta places 5"):
        Content(manifest.meta, manifest.data_cids, by_cid([block])).check()


def test_a_missing_block_is_unavailable_and_named() -> None:
    result = packed(tensors(5, 300 * KIB))
    manifest = read_manifest(result.root, by_cid(result.blocks))
    with pytest.raises(UnavailableError) as outage:
        Content(manifest.meta, manifest.data_cids, {manifest.data_cids[1]: bytes(300 * KIB)}).check()
    assert outage.value.missing == (manifest.data_cids[0],)


@given(st.data())
@settings(max_examples=200)
def test_mutated_structure_is_rejected_or_stays_harmless(data: st.DataObject) -> None:
    result = packed(tensors(5, 7), parents=[dag_cid(b"")])
    top, store = decode_root(by_cid(result.blocks)[result.root], 1), by_cid(result.blocks)
    victim = data.draw(st.sampled_from([top.meta, top.parts[0]]))
    bad = bytearray(store[victim])
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    changed = Block(dag_cid(bytes(bad)), bytes(bad))
    root, store = tampered(result, **({"meta": changed.cid} if victim == top.meta else {"parts": (changed.cid,)}))
    store[changed.cid] = changed.data
    try:
        manifest = read_manifest(root, store)
        content = Content(manifest.meta, manifest.data_cids, store)
        content.check()
    except (UpdateRejectedError, UnavailableError):
        return
    for spec in content.meta.specs:
        content.encoded(spec.name)


def test_reading_a_manifest_takes_two_steps_or_three_with_pages() -> None:
    def steps(result: Packed) -> list[int]:
        store, counts = by_cid(result.blocks), []

        async def read(cids: Sequence[Cid]) -> Mapping[Cid, bytes]:
            counts.append(len(cids))
            return {cid: store[cid] for cid in cids}

        async def run() -> Manifest:
            return await Manifest.read(result.root, read, Limits(LIMIT))

        trio.run(run)
        return counts

    assert steps(packed(tensors(4))) == [1, 2]
    assert steps(packed(tensors(*[1] * 20_000))) == [1, 2, 2]
