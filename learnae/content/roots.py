"""The two kinds of nodes above the blocks, always in this form:

    root  {v: 1, meta: link, parts: [links]}
    part  {blocks: [links]}, up to 4,096 of them; every part of a root but the last is full

A meta too large for one block is several pages, and then `meta` links to a part that lists them.

Both, and each page of a meta, are strict dag-cbor. Inside it byte strings never occur: links, text and numbers only. libipld writes any
bytes that happen to parse as a CID as a link, and reads links as bytes, so the two cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import libipld

from learnae.content.cids import cid_bytes, cid_text, dag_cid
from learnae.content.scan import LINK_BYTES, Form, look_over
from learnae.content.validators import items
from learnae.errors import UpdateRejectedError
from learnae.records import BLOCK_BYTES, Block, Cid

VERSION = 1
PART_LINKS = 4096

_FRAME_BYTES = 128  # of a root or part, beside the links that it lists
_FRAME_ITEMS = 8
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
    value = _decode(data, ("v", "meta", "parts"), max_parts)
    if type(value["v"]) is not int or value["v"] != VERSION:
        raise UpdateRejectedError("version", f"not a root of version {VERSION}")
    return Root(cid_text(value["meta"]), links(value["parts"], "parts", max_parts))


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
    cids = links(_decode(data, ("blocks",), PART_LINKS)["blocks"], "blocks", PART_LINKS)
    if not cids:
        raise UpdateRejectedError("not-canonical", "a part that lists nothing")
    return cids


def is_part(data: bytes) -> bool:
    """Whether a dag-cbor block is a part, rather than a page of a meta."""
    return data.startswith(_PART_HEAD)


def dag_block(value: Any) -> Block:
    """A dag-cbor block with its CID."""
    data = encode_dag(value)
    return Block(dag_cid(data), data)


def _decode(data: bytes, keys: tuple[str, ...], links: int) -> dict[str, Any]:
    """A mapping with one list of at most so many links, which is as long as those and no longer."""
    form = Form(items=_FRAME_ITEMS + links, containers=2, depth=2, links=True)
    return decode_dag(data, keys, form, longest=_FRAME_BYTES + links * LINK_BYTES)


def encode_dag(value: Any) -> bytes:
    """Canonical bytes. `value` holds mappings, lists, text and finite numbers; links as `cid_bytes`. Raises ValueError."""
    return libipld.encode_dag_cbor(value)


def decode_dag(data: bytes, keys: Iterable[str], form: Form, longest: int = BLOCK_BYTES) -> dict[str, Any]:
    """The mapping with exactly these keys in one block of at most `longest` bytes.

    Raises UpdateRejectedError for anything else, also for another spelling of the same. Nothing is made of what is beyond the form: of a
    block of empty lists came 520,000 objects, and of 900 mappings in one another, which claim to be long, 2 GiB.
    """
    if len(data) > min(longest, BLOCK_BYTES):
        raise UpdateRejectedError("oversized", f"a dag-cbor block of {len(data)} bytes")
    look_over(data, form)
    try:
        value = libipld.decode_dag_cbor(data)
        canonical = libipld.encode_dag_cbor(value) == data
    except (ValueError, RecursionError) as error:
        raise UpdateRejectedError("malformed", str(error)) from None
    if not canonical:
        raise UpdateRejectedError("not-canonical", "the same content has another dag-cbor form")
    if not isinstance(value, dict) or value.keys() != set(keys):
        raise UpdateRejectedError("malformed", f"a mapping with other keys than {', '.join(sorted(keys))}")
    return value


def links(value: Any, what: str, limit: int) -> tuple[Cid, ...]:
    """A list of at most `limit` links, as `decode_dag` returns it. Raises UpdateRejectedError."""
    return tuple(map(cid_text, items(value, what, limit)))
