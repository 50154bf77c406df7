"""Chains of versions that cost far more to decode than they have bytes are refused, and those of honest peers are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from learnae.content.meta import Meta
from learnae.content.pack import Packed, pack
from learnae.content.unpack import Content
from learnae.errors import UpdateRejectedError
from learnae.node.bases import LONGEST_CHAIN, HeldUpdates, fetch_needed
from learnae.node.fetching import Transfer
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.plugins.patch import Patch, PatchOptions
from learnae.records import AnnouncementKind, Cid, PeerId, TensorSpec
from learnae.testing.context import make_context, peer_named

pytestmark = pytest.mark.virtual_time

PEER = peer_named("alice")
W = TensorSpec(name="w", dtype="float32", shape=(500, 500))


@attrs.define
class Shelf:
    """What a fetcher finds."""

    there: dict[Cid, Packed] = attrs.field(factory=dict)

    async def fetch_root(self, root: Cid, peer: PeerId, transfer: Transfer, check: Callable[[Meta], None], decode_in: Any) -> Content:
        packed = self.there[root]
        check(packed.meta)
        return Content(packed.meta, packed.data_cids, {block.cid: block.data for block in packed.blocks})


def versions(codec: Patch, model: np.ndarray, changed: int, count: int) -> list[Packed]:
    """A whole model, and `count` more of which each has so many values changed."""
    rng, made, roots = np.random.default_rng(0), list[Packed](), list[Cid]()
    before: np.ndarray | None = None
    for number in range(1, count + 2):
        encoded = codec.encode("w", model, before, rng)
        base, parents = (roots[0], roots[1:]) if roots else (None, [])
        kind = AnnouncementKind.UPDATE
        made.append(pack([(W, encoded)], peer=PEER, kind=kind, number=number, codec="patch", base=base, parents=parents))
        roots.append(made[-1].root)
        before, model = model, model.copy()
        model.reshape(-1)[rng.integers(0, model.size, changed)] += 0.25
    return made


async def read(made: list[Packed], codec: Patch) -> None:
    *earlier, last = made
    update = Transfer(10**9, blocks={block.cid: block.data for block in last.blocks})
    shelf: Any = Shelf({one.root: one for one in earlier})
    await fetch_needed(shelf, HeldUpdates(), last.meta, ConfiguredStrategy("patch", "p", codec), {"w": W}, update)


async def test_a_chain_of_hardly_any_bytes_is_refused_before_it_is_decoded_for_a_merge(tmp_path: Path) -> None:
    codec = Patch(PatchOptions(), make_context(tmp_path))
    made = versions(codec, np.zeros(W.shape, np.float32), 1, 40)
    with pytest.raises(UpdateRejectedError, match="a chain of 41 versions"):
        await read(made, codec)


async def test_a_chain_of_a_model_that_learns_slowly_is_read(tmp_path: Path) -> None:
    codec = Patch(PatchOptions(), make_context(tmp_path))
    weights = np.random.default_rng(1).normal(size=W.shape).astype(np.float32)
    bfloat16 = (weights.view(np.uint32) & 0xFFFF0000).view(np.float32)
    await read(versions(codec, bfloat16, W.count // 1000, LONGEST_CHAIN - 1), codec)


async def test_a_short_chain_is_read_however_few_bytes_it_has(tmp_path: Path) -> None:
    codec = Patch(PatchOptions(), make_context(tmp_path))
    await read(versions(codec, np.zeros(W.shape, np.float32), 1, 5), codec)
