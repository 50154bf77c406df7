"""Rows of which a test names what matters, and slices that travelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import trio

from learnae.content.encryption import NO_ENCRYPTION, Encryption
from learnae.content.pack import Packed
from learnae.content.unpack import Content, Manifest
from learnae.data.schema import schema_of
from learnae.data.slices import SLICE_LIMITS, SliceRows, make_slices, pack_slice
from learnae.records import Cid


def images(count: int = 20, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return {"x": rng.random((count, 4, 4), np.float32), "y": rng.integers(0, 10, count)}


def one_slice(arrays: Mapping[str, np.ndarray[Any, Any]], label: str | None = "y", words: Any = None, **options: Any) -> SliceRows:
    (made,) = make_slices(arrays, schema_of(arrays, label, words), **options)
    return made


def fetched(packed: Packed, encryption: Encryption = NO_ENCRYPTION) -> Content:
    """As a node would have it."""
    store = {block.cid: block.data for block in packed.blocks}

    async def read(cids: Sequence[Cid]) -> Mapping[Cid, bytes]:
        return {cid: store[cid] for cid in cids}

    async def run() -> Manifest:
        return await Manifest.read(packed.root, read, SLICE_LIMITS, encryption)

    manifest = trio.run(run)
    content = Content(manifest.meta, manifest.data_cids, {cid: store[cid] for cid in manifest.data_cids}, encryption)
    content.check()
    return content


def root_of(rows: SliceRows) -> Cid:
    return pack_slice(rows).packed.root
