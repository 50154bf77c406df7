"""A storage in memory whose medium can be put out of order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from learnae.errors import UnavailableError
from learnae.plugins.memory import MemoryStorage
from learnae.records import Block, Cid


class Gauge:
    """Whether the medium of a run can be used."""

    broken = False


class Breakable(MemoryStorage):
    """The right one, on a medium that can be put out of order; it looks before each step."""

    def look(self, missing: Sequence[Cid] = ()) -> None:
        if self.context.share(Gauge).broken:
            raise UnavailableError("out of order", missing)

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        self.look()
        taken = list(blocks)
        self.look()
        await super().put(root, taken)

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        self.look(list(cids))
        await super().get(cids, deliver, hints=hints)

    async def drop(self, root: Cid) -> None:
        self.look()
        await super().drop(root)

    async def roots(self) -> Sequence[Cid]:
        self.look()
        return await super().roots()
