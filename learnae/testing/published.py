"""Made-up updates for tests of storages, and what a storage makes of them."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator, Sequence

import attrs
import trio

from learnae.content.cids import raw_cid
from learnae.content.roots import Root, encode_parts, encode_root
from learnae.records import Block, Cid
from learnae.strategies import Storage


@attrs.frozen
class Published:
    """A root with all its blocks, as the core would put them."""

    root: Cid
    blocks: tuple[Block, ...]

    @property
    def cids(self) -> list[Cid]:
        return [block.cid for block in self.blocks]


def published(name: str, *payloads: bytes) -> Published:
    """A root with these blocks; the name goes into its meta, so that roots of the same blocks differ."""
    blocks = [Block(raw_cid(data), data) for data in (name.encode(), *payloads)]
    parts = encode_parts([block.cid for block in blocks[1:]])
    root = encode_root(Root(blocks[0].cid, tuple(part.cid for part in parts)))
    return Published(root.cid, (*blocks, *parts, root))


def payloads(count: int, seed: int = 0, length: int = 1000) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(length) for _ in range(count)]


async def fetched(storage: Storage, cids: Sequence[Cid]) -> dict[Cid, bytes]:
    """What a storage delivers. Raises Unavailable."""
    found: dict[Cid, bytes] = {}
    await storage.get(cids, lambda block: found.update({block.cid: block.data}))
    return found


def same(found: dict[Cid, bytes], update: Published) -> bool:
    """Whether exactly these blocks came, byte for byte."""
    return found == {block.cid: block.data for block in update.blocks}


def breaking_off(blocks: Sequence[Block]) -> Iterator[Block]:
    """A core that fails half way through the blocks."""
    yield from blocks[: len(blocks) // 2]
    raise ZeroDivisionError


def cancelling(blocks: Sequence[Block], scope: trio.CancelScope) -> Iterator[Block]:
    """A core that cancels the call half way through the blocks, whichever thread takes them."""
    cancel = functools.partial(trio.lowlevel.current_trio_token().run_sync_soon, scope.cancel)

    def blocks_then_cancel() -> Iterator[Block]:
        for number, block in enumerate(blocks):
            if number == len(blocks) // 2:
                cancel()
            yield block

    return blocks_then_cancel()
