"""The block store by itself as a storage, for the conformance kit and for processes that are killed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from learnae import Block, Cid, Context, Storage, UnavailableError
from learnae_libp2p.streams.block_store import BlockStore


class LocalStorage(Storage):
    """Own blocks only: no network."""

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        self.store = BlockStore(
            folder=context.home / "blocks", in_thread=context.in_thread, log=context.log, existing_only=context.existing_only
        )

    async def __aenter__(self) -> Self:
        await self.store.open()
        return self

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        await self.store.put(root, blocks)

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        if missing := await self.store.deliver(cids, deliver):
            raise UnavailableError("not here", missing)

    async def drop(self, root: Cid) -> None:
        await self.store.drop(root)

    async def roots(self) -> Sequence[Cid]:
        return await self.store.roots()
