"""Blocks in the memory of this process, shared by all peers that run in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import trio

from learnae.errors import Unavailable
from learnae.records import Block, Cid, PeerId
from learnae.strategies import Context, Storage


class MemoryStore:
    """The blocks, and which root of which peer names them."""

    def __init__(self) -> None:
        self.blocks: dict[Cid, bytes] = {}
        self.roots: dict[tuple[PeerId, Cid], frozenset[Cid]] = {}
        self._named: Counter[Cid] = Counter()

    def put(self, peer: PeerId, root: Cid, blocks: dict[Cid, bytes]) -> None:
        self._named.update(blocks.keys())
        self.blocks.update(blocks)
        self.drop(peer, root)
        self.roots[peer, root] = frozenset(blocks)

    def drop(self, peer: PeerId, root: Cid) -> None:
        for cid in self.roots.pop((peer, root), ()):
            self._named[cid] -= 1
            if not self._named[cid]:
                del self._named[cid], self.blocks[cid]


class MemoryStorage(Storage):
    """Keeps blocks in memory: for tests, and for swarms that are simulated in one process."""

    leaves_machine: ClassVar[bool] = False

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        self.store = context.share(MemoryStore)

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        await trio.lowlevel.checkpoint()
        self.store.put(self.context.peer, root, {block.cid: block.data for block in blocks})

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        missing = []
        for cid in dict.fromkeys(cids):
            await trio.lowlevel.checkpoint()
            if cid in self.store.blocks:
                deliver(Block(cid, self.store.blocks[cid]))
            else:
                missing.append(cid)
        if missing:
            raise Unavailable(f"{len(missing)} of {len(cids)} blocks are not in memory", missing)

    async def drop(self, root: Cid) -> None:
        await trio.lowlevel.checkpoint()
        self.store.drop(self.context.peer, root)

    async def roots(self) -> Sequence[Cid]:
        await trio.lowlevel.checkpoint()
        return [root for peer, root in self.store.roots if peer == self.context.peer]
