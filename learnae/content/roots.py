"""The two kinds of nodes above the blocks, always in this form:

    root  {v: 1, meta: link, parts: [links]}
    part  {blocks: [links]}, up to 4,096 of them; every part of a root but the last is full

A meta too large for one block is several pages, and then `meta` links to a part that lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from learnae.content import dagcbor
from learnae.content.cids import cid_bytes, cid_text, dag_cid
from learnae.errors import UpdateRejectedError
from learnae.records import Block, Cid

VERSION = 1
PART_LINKS = 4096

_PART_HEAD = b"\xa1\x66blocks"  # how a mapping with the one key `blocks` begins


@attrs.frozen
class Root:
    """Where the meta and the parts of one update or slice are."""

    meta: Cid
    parts: tuple[Cid, ...]


def encode_root(root: Root) -> Block:
    """The root as a block; its CID names the whole."""
    return dag_block({"v": VERSION, "meta": cid_bytes(root.meta), "parts": [cid_bytes(part) for part in root.parts]})


def decode_root(data: bytes, max_parts: int) -> Root:
    """Raises UpdateRejectedError: "version" for a root of another version, else what is wrong with it."""
    value = dagcbor.decode(data, ("v", "meta", "parts"))
    if type(value["v"]) is not int or value["v"] != VERSION:
        raise UpdateRejectedError("version", f"not a root of version {VERSION}")
    return Root(cid_text(value["meta"]), dagcbor.links(value["parts"], "parts", max_parts))


def encode_parts(cids: Sequence[Cid]) -> tuple[Block, ...]:
    """The parts that list these blocks, all of them full but the last."""
    return tuple(encode_part(cids[start : start + PART_LINKS]) for start in range(0, len(cids), PART_LINKS))


def decode_parts(parts: Sequence[bytes]) -> tuple[Cid, ...]:
    """The blocks that these parts list. Raises UpdateRejectedError, also where a part before the last is not full."""
    lists = [decode_part(part) for part in parts]
    if any(len(cids) != PART_LINKS for cids in lists[:-1]):
        raise UpdateRejectedError("not-canonical", f"a part before the last lists fewer than {PART_LINKS} blocks")
    return tuple(cid for cids in lists for cid in cids)


def encode_part(cids: Sequence[Cid]) -> Block:
    """One part, of 1 to 4,096 links."""
    return dag_block({"blocks": [cid_bytes(cid) for cid in cids]})


def decode_part(data: bytes) -> tuple[Cid, ...]:
    """The links of one part, at least one. Raises UpdateRejectedError."""
    cids = dagcbor.links(dagcbor.decode(data, ("blocks",))["blocks"], "blocks", PART_LINKS)
    if not cids:
        raise UpdateRejectedError("not-canonical", "a part that lists nothing")
    return cids


def is_part(data: bytes) -> bool:
    """Whether a dag-cbor block is a part, rather than a page of a meta."""
    return data.startswith(_PART_HEAD)


def dag_block(value: Any) -> Block:
    """A dag-cbor block with its CID."""
    data = dagcbor.encode(value)
    return Block(dag_cid(data), data)
