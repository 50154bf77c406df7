"""Strict dag-cbor. Inside it byte strings never occur: links, text and numbers only.

libipld writes any bytes that happen to parse as a CID as a link, and reads links as bytes, so the two cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import libipld

from learnae.content.cids import cid_text
from learnae.content.expect import items
from learnae.errors import UpdateRejected
from learnae.records import BLOCK_BYTES, Cid


def encode(value: Any) -> bytes:
    """Canonical bytes. `value` holds mappings, lists, text and finite numbers; links as `cid_bytes`. Raises ValueError."""
    return libipld.encode_dag_cbor(value)


def decode(data: bytes, keys: Iterable[str]) -> dict[str, Any]:
    """The mapping with exactly these keys in one block. Raises UpdateRejected for anything else, also for another spelling of the same."""
    if len(data) > BLOCK_BYTES:
        raise UpdateRejected("oversized", f"a dag-cbor block of {len(data)} bytes")
    try:
        value = libipld.decode_dag_cbor(data)
        canonical = libipld.encode_dag_cbor(value) == data
    except (ValueError, RecursionError) as error:
        raise UpdateRejected("malformed", str(error)) from None
    if not canonical:
        raise UpdateRejected("not-canonical", "the same content has another dag-cbor form")
    if not isinstance(value, dict) or value.keys() != set(keys):
        raise UpdateRejected("malformed", f"a mapping with other keys than {', '.join(sorted(keys))}")
    return value


def links(value: Any, what: str, limit: int) -> tuple[Cid, ...]:
    """A list of at most `limit` links, as `decode` returns it. Raises UpdateRejected."""
    return tuple(map(cid_text, items(value, what, limit)))
