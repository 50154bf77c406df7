"""Roots, parts, metas and places; and whole updates whose meta is anybody's, read as a node reads them."""

from __future__ import annotations

import struct
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from learnae.content.cids import dag_cid, raw_cid
from learnae.content.meta import ByteRange, Limits, Meta, block_lengths, decode_meta, encode_meta
from learnae.content.pack import pack
from learnae.content.roots import PART_LINKS, Root, decode_part, decode_root, encode_part, encode_root
from learnae.content.unpack import Content, Manifest
from learnae.errors import UpdateRejectedError
from learnae.records import BLOCK_BYTES, AnnouncementKind, Block, Cid, Encoded, PeerId, TensorSpec
from tests.support.hostile.targets import Target
from tests.support.hostile.value_mutations import DAG_CBOR, LOOSE_DAG_CBOR

T = TypeVar("T")

PEER = PeerId("0f" * 32)
LIMITS = Limits(1 << 20)
FORMS = (DAG_CBOR, LOOSE_DAG_CBOR)
TENSORS = (
    (TensorSpec(name="layer.weight", dtype="float32", shape=(40, 25)), Encoded(bytes(1016), {"exponent": -3})),
    (TensorSpec(name="layer.bias", dtype="bfloat16", shape=(25,)), Encoded(bytes(27), {"exponent": 4, "note": "text", "ratio": 0.5})),
    (TensorSpec(name="count", dtype="int64", shape=()), Encoded(bytes(8))),
    (TensorSpec(name="empty", dtype="float32", shape=(0,)), Encoded(b"")),
)
PACKED = pack(
    TENSORS, peer=PEER, kind=AnnouncementKind.UPDATE, number=7, codec="int8", base=dag_cid(b"base"), parents=[dag_cid(b"a"), dag_cid(b"b")]
)
BLOCKS: Mapping[Cid, bytes] = {block.cid: block.data for block in PACKED.blocks}
_ROOT = decode_root(BLOCKS[PACKED.root], 1)
_META = BLOCKS[_ROOT.meta]
_PLACE = struct.Struct(">IIIxx")  # block, offset, length, and room for mutations


def targets() -> Iterator[Target]:
    rejected = (UpdateRejectedError,)
    roots = (BLOCKS[PACKED.root], encode_root(Root(_ROOT.meta, ())).data, encode_root(Root(_ROOT.meta, _ROOT.parts * 3)).data)
    yield Target("root", lambda data: decode_root(data, 4), rejected, roots, FORMS, _root_comes_back)
    parts = (BLOCKS[_ROOT.parts[0]], encode_part([raw_cid(bytes([n])) for n in range(30)]).data)
    yield Target("part", decode_part, rejected, parts, FORMS, _part_comes_back)
    yield Target("meta", lambda data: decode_meta([data], LIMITS), rejected, (_META,), FORMS, _meta_comes_back)
    pages = encode_meta(_meta(), len(_META) - 60)
    yield Target("pages", _decode_pages, rejected, (_META, b"|".join(pages)), (), _is_within_limits)
    yield Target("update", read_update, rejected, (_META,), FORMS, _is_whole)
    yield Target("places", _decode_places, rejected, _place_seeds(), (), _is_filled)


def read_update(meta: bytes) -> Content:
    """An update with the blocks of a valid one and this meta under its true CID. Raises UpdateRejectedError."""
    page = Block(dag_cid(meta), meta)
    root = encode_root(Root(page.cid, _ROOT.parts))
    store = {**BLOCKS, page.cid: page.data, root.cid: root.data}

    async def read(cids: Sequence[Cid]) -> Mapping[Cid, bytes]:
        return {cid: store[cid] for cid in cids}

    manifest = at_once(Manifest.read(root.cid, read, LIMITS))
    content = Content(manifest.meta, manifest.data_cids, {cid: store[cid] for cid in manifest.data_cids})
    content.check()
    return content


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waits")


def _meta() -> Meta:
    return decode_meta([_META], LIMITS)


def _decode_pages(data: bytes) -> Meta:
    return decode_meta(data.split(b"|"), LIMITS)


def _decode_places(data: bytes) -> tuple[list[ByteRange], int, list[int]]:
    count, room = data[0] if data else 0, 1 + (data[1] if len(data) > 1 else 0)
    places = [ByteRange(*numbers) for numbers in _PLACE.iter_unpack(data[2 : 2 + (len(data) - 2) // _PLACE.size * _PLACE.size])]
    return places, room, block_lengths(places, count, room)


def _place_seeds() -> tuple[bytes, ...]:
    shelves = (
        (2, 63, ((0, 0, 10), (0, 10, 5), (1, 0, 64))),
        (3, 63, ((0, 0, 130), (2, 2, 3), (0, 0, 0))),
        (1, 255, ((0, 0, 255),)),
    )
    return tuple(bytes([count, room]) + b"".join(_PLACE.pack(*place) for place in places) for count, room, places in shelves)


def _root_comes_back(data: bytes, root: Root) -> None:
    assert encode_root(root).data == data
    assert len(root.parts) <= 4


def _part_comes_back(data: bytes, cids: Sequence[Cid]) -> None:
    assert encode_part(cids).data == data
    assert 0 < len(cids) <= PART_LINKS


def _meta_comes_back(data: bytes, meta: Meta) -> None:
    assert encode_meta(meta, BLOCK_BYTES) == (data,)
    _is_within_limits(data, meta)


def _is_within_limits(data: bytes, meta: Meta) -> None:
    assert len(meta.tensors) <= LIMITS.tensors
    for spec in meta.specs:
        assert 0 <= spec.count < 1 << 63
        assert spec.name.isprintable()


def _is_whole(data: bytes, content: Content) -> None:
    """Access to a checked update never raises, and gives exactly what was placed."""
    for entry in content.meta.tensors:
        assert len(content.encoded(entry.spec.name).data) == entry.place.length


def _is_filled(data: bytes, decoded: tuple[list[ByteRange], int, list[int]]) -> None:
    places, room, lengths = decoded
    assert all(0 < length <= room for length in lengths)
    assert sum(lengths) == sum(place.length for place in places)
