"""Packs encoded tensors into blocks. The same input gives the same blocks, with the same CIDs, on every machine and every storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from learnae.content.cids import dag_cid, raw_cid
from learnae.content.encryption import NO_ENCRYPTION, Encryption, room
from learnae.content.meta import SMALLEST_LARGE, ByteRange, Meta, TensorEntry, encode_meta
from learnae.content.roots import Root, encode_part, encode_parts, encode_root
from learnae.records import AnnouncementKind, Block, Cid, Encoded, PeerId, TensorSpec


class BlockBuilder:
    """Takes the bytes of one tensor after the other, says where they are, and in the end gives the blocks."""

    def __init__(self, encryption: Encryption) -> None:
        self._encryption = encryption
        self._room = room(encryption)
        self._blocks: list[Block | None] = []  # None: the place of the shared block that is still being filled
        self._shared = bytearray()
        self._slot = 0  # where the shared block will be

    def add(self, data: bytes) -> ByteRange:
        """Put a tensor's bytes."""
        if not data:
            return ByteRange(0, 0, 0)
        return self._add_small(data) if len(data) < SMALLEST_LARGE else self._add_large(data)

    def close(self) -> list[Block]:
        """All blocks in order; nothing can be added any more."""
        self._finish_shared()
        return [block for block in self._blocks if block]

    def _add_large(self, data: bytes) -> ByteRange:
        first, view = len(self._blocks), memoryview(data)
        self._blocks += (self._block(view[start : start + self._room]) for start in range(0, len(data), self._room))
        return ByteRange(first, 0, len(data))

    def _add_small(self, data: bytes) -> ByteRange:
        if len(self._shared) + len(data) > self._room:
            self._finish_shared()
        if not self._shared:
            self._slot = len(self._blocks)
            self._blocks.append(None)
        place = ByteRange(self._slot, len(self._shared), len(data))
        self._shared += data
        return place

    def _finish_shared(self) -> None:
        if self._shared:
            self._blocks[self._slot] = self._block(bytes(self._shared))
            self._shared = bytearray()

    def _block(self, data: bytes | memoryview) -> Block:
        sealed = self._encryption.seal(data)
        return Block(raw_cid(sealed), sealed)


@attrs.frozen
class Packed:
    """A whole update or slice, ready for `Storage.put`: root, parts, meta and data, each block once."""

    root: Cid
    blocks: tuple[Block, ...]
    bytes: int  # what whoever fetches all of it has to transfer
    meta: Meta
    data_cids: tuple[Cid, ...]


def pack(
    entries: Iterable[tuple[TensorSpec, Encoded]],
    *,
    peer: PeerId,
    kind: AnnouncementKind,
    number: int,
    codec: str,
    base: Cid | None = None,
    parents: Iterable[Cid] = (),
    encryption: Encryption = NO_ENCRYPTION,
) -> Packed:
    """Blocks for these tensors, which are taken one at a time.

    Raises ValueError for what others would refuse (two tensors of one name, an unprintable name, ...)
    and PluginError for a codec's notes that are neither text nor finite numbers.
    """
    builder = BlockBuilder(encryption)
    tensors = tuple(TensorEntry(spec, encoded.meta, builder.add(encoded.data)) for spec, encoded in entries)
    meta = Meta(peer, kind, number, codec, tensors, base, tuple(parents))
    return _assemble(meta, _meta_blocks(meta, encryption), builder.close())


def _meta_blocks(meta: Meta, encryption: Encryption) -> tuple[Block, ...]:
    """First what the root links to: the only page, or the part that lists the pages."""
    name = raw_cid if encryption.overhead else dag_cid
    sealed = map(encryption.seal, encode_meta(meta, room(encryption)))
    pages = tuple(Block(name(data), data) for data in sealed)
    return pages if len(pages) == 1 else (encode_part([page.cid for page in pages]), *pages)


def _assemble(meta: Meta, pages: Sequence[Block], data: Sequence[Block]) -> Packed:
    cids = tuple(block.cid for block in data)
    parts = encode_parts(cids)
    root = encode_root(Root(pages[0].cid, tuple(part.cid for part in parts)))
    blocks = tuple({block.cid: block for block in (root, *parts, *pages, *data)}.values())
    return Packed(root.cid, blocks, sum(len(block.data) for block in blocks), meta, cids)
