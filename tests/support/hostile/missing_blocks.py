"""A storage in memory in which some blocks never come: whoever asks for one of them has the others, and waits until it is cut off."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from learnae.plugins.memory import MemoryStorage
from learnae.records import Block, Cid


class Silent(set[Cid]):
    """Blocks that never come."""


class Trapped(MemoryStorage):
    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        silent = self.context.share(Silent)
        if there := [cid for cid in cids if cid not in silent]:
            await super().get(there, deliver, hints=hints)
        if silent.intersection(cids):
            await trio.sleep_forever()
