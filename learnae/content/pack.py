"""From encoded tensors to blocks. The same input gives the same blocks, with the same CIDs, on every machine and every storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from learnae.content.cids import dag_cid, raw_cid
from learnae.content.meta import Meta, TensorEntry, encode_meta
from learnae.content.roots import Root, encode_part, encode_parts, encode_root
from learnae.content.seals import OPEN, Seal, room
from learnae.content.shelf import Shelf
from learnae.records import Block, Cid, Encoded, Kind, PeerId, TensorSpec


@attrs.frozen
class Packed:
    """A whole update or slice, ready for `Storage.put`: root, parts, meta and data, each block once."""

    root: Cid
    blocks: tuple[Block, ...]
    bytes: int  # what whoever fetches all of it has to transfer


def pack(
    entries: Iterable[tuple[TensorSpec, Encoded]],
    *,
    peer: PeerId,
    kind: Kind,
    number: int,
    codec: str,
    base: Cid | None = None,
    parents: Iterable[Cid] = (),
    seal: Seal = OPEN,
) -> Packed:
    """Blocks for these tensors, which are taken one at a time.

    Raises ValueError for what others would refuse (two tensors of one name, an unprintable name, ...)
    and PluginError for a codec's notes that are neither text nor finite numbers.
    """
    shelf = Shelf(seal)
    tensors = tuple(TensorEntry(spec, encoded.meta, shelf.add(encoded.data)) for spec, encoded in entries)
    meta = Meta(peer, kind, number, codec, tensors, base, tuple(parents))
    return _assemble(_meta_blocks(meta, seal), shelf.close())


def _meta_blocks(meta: Meta, seal: Seal) -> tuple[Block, ...]:
    """First what the root links to: the only page, or the part that lists the pages."""
    name = raw_cid if seal.overhead else dag_cid
    sealed = map(seal.seal, encode_meta(meta, room(seal)))
    pages = tuple(Block(name(data), data) for data in sealed)
    return pages if len(pages) == 1 else (encode_part([page.cid for page in pages]), *pages)


def _assemble(meta: Sequence[Block], data: Sequence[Block]) -> Packed:
    parts = encode_parts([block.cid for block in data])
    root = encode_root(Root(meta[0].cid, tuple(part.cid for part in parts)))
    blocks = tuple({block.cid: block for block in (root, *parts, *meta, *data)}.values())
    return Packed(root.cid, blocks, sum(len(block.data) for block in blocks))
