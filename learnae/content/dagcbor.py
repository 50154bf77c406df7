"""Strict dag-cbor. Inside it byte strings never occur: links, text and numbers only.

libipld writes any bytes that happen to parse as a CID as a link, and reads links as bytes, so the two cannot be told apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import cbor2
import libipld

from learnae.content.cids import cid_text
from learnae.content.validators import items
from learnae.errors import UpdateRejectedError
from learnae.records import BLOCK_BYTES, Cid

_DEEPEST = 5  # a meta nests 4 deep


def encode(value: Any) -> bytes:
    """Canonical bytes. `value` holds mappings, lists, text and finite numbers; links as `cid_bytes`. Raises ValueError."""
    return libipld.encode_dag_cbor(value)


def decode(data: bytes, keys: Iterable[str]) -> dict[str, Any]:
    """The mapping with exactly these keys in one block.

    Raises UpdateRejectedError for anything else, also for another spelling of the same.
    """
    if len(data) > BLOCK_BYTES:
        raise UpdateRejectedError("oversized", f"a dag-cbor block of {len(data)} bytes")
    _refuse_deep(data)
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
    """A list of at most `limit` links, as `decode` returns it. Raises UpdateRejectedError."""
    return tuple(map(cid_text, items(value, what, limit)))


def _refuse_deep(data: bytes) -> None:
    """libipld allocates for each list and mapping what its header claims: 900 in one another take 2 GiB and 8 s in one block.

    Keys are text (`strict_hashable_types`), since numbers can be chosen so that their hashes collide.
    """
    try:
        cbor2.loads(data, max_depth=_DEEPEST, allow_indefinite=False, strict_hashable_types=True, semantic_decoders=_TAGS)
    except Exception as error:  # whatever a stranger's bytes provoke, it is the stranger's fault
        raise UpdateRejectedError("malformed", f"no plain CBOR: {type(error).__name__}") from None


def _refuse_tag(*_: object) -> NoReturn:
    raise ValueError("a tag")


_TAGS: Mapping[int, Any] = defaultdict(lambda: _refuse_tag, {42: lambda *_: None})
"""Links are looked at by libipld; other tags make cbor2 compile regular expressions, compute big numbers, ..."""
