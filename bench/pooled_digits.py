"""Peers of setting D20 that give rows and draw half of every batch from their pools, and the lines between them, under virtual time.

A storage and an announcer in memory, on lines that take their time, can be cut, and lose what they carry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import trio

from learnae.config.tables import DataTable
from learnae.data.pool import Pool
from learnae.data.pool_index import PooledSlice
from learnae.demo.digits import CLASSES
from learnae.errors import UnavailableError
from learnae.hookspecs import hookimpl
from learnae.plugins.hooks import Plugin
from learnae.plugins.manager import PluginManager
from learnae.plugins.memory import MemoryAnnouncer, MemoryStorage
from learnae.records import Block, Cid, PeerId
from learnae.testing.swarm import Model, SimulatedPeer
from learnae.trainer.dataset import SwarmDataset, make_dataset
from tests.support.digits_swarm import BATCH, LOCAL_STEPS, sgd_step

if TYPE_CHECKING:
    import numpy as np

SPLIT, RATE, FOREIGN = "shards", 0.3, 0.5
QUOTA = 1 << 20
GIVES: Mapping[str, Any] = {"share": "slices", "share_fraction": 0.05, "licence": "BSD-3-Clause", "accept_bytes": QUOTA}
ON_WIRES: Mapping[str, Any] = {"storage": {"use": "wire"}, "announcer": {"use": "wire"}}


@attrs.define
class Wire:
    """What all have fetched, and how their lines are: one transfer after the other, on the giver's way up and then on the way down."""

    speeds: Mapping[PeerId, float] = attrs.field(factory=dict)  # bytes a second; who is not here is as fast as can be
    reaches: Callable[[PeerId, PeerId], bool] = lambda giver, taker: True
    loss: float = 0.0  # the probability that a fetch comes to nothing
    seed: int = 0  # of this lot
    broken: bool = False  # no storage works
    frozen: dict[PeerId, trio.Event] = attrs.field(factory=dict)  # until this event nothing goes out of these
    frozen_at: float = 0.0  # when they were
    fetched: Counter[PeerId] = attrs.field(factory=Counter)
    _free: dict[tuple[PeerId, str], float] = attrs.field(factory=dict)
    _asked: Counter[PeerId] = attrs.field(factory=Counter)

    async def awake(self, peer: PeerId) -> None:
        """Wait while this peer is frozen."""
        while peer in self.frozen:
            await self.frozen[peer].wait()

    async def thawed(self, peer: PeerId, since: float) -> float:
        """Wait while this peer is frozen. Returns how much of what it did since then it has still to do, in seconds."""
        if peer not in self.frozen:
            return 0.0
        lost = trio.current_time() - max(since, self.frozen_at)
        await self.awake(peer)
        return lost

    def look(self, missing: Sequence[Cid] = ()) -> None:
        """Raises UnavailableError where no storage works."""
        if self.broken:
            raise UnavailableError("the storage is out of order", missing)

    def loses(self, taker: PeerId) -> bool:
        """By lot, the same for the same fetch of the same peer."""
        self._asked[taker] += 1
        return self.loss > 0 and Random(f"{self.seed} {taker} {self._asked[taker]}").random() < self.loss

    async def carry(self, size: int, giver: PeerId | None, taker: PeerId) -> None:
        self.fetched[taker] += size
        for peer, way in ((giver, "up"), (taker, "down")):
            if peer is not None and peer in self.speeds:
                ends = max(trio.current_time(), self._free.get((peer, way), 0.0)) + size / self.speeds[peer]
                self._free[peer, way] = ends
                await trio.sleep_until(ends)


class WireStorage(MemoryStorage):
    """Blocks in memory that take their time. Who has put them gives them: from a peer that is not reached they do not come."""

    def __init__(self, options: Any, context: Any) -> None:
        super().__init__(options, context)
        self.wire = context.share(Wire)

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        await self.wire.awake(self.context.peer)
        self.wire.look()
        await super().put(root, blocks)

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        taker = self.context.peer
        await self.wire.awake(taker)
        self.wire.look(list(cids))
        if self.wire.loses(taker):
            raise UnavailableError("the fetch was lost", list(cids))
        missing = []
        for cid in dict.fromkeys(cids):
            await trio.lowlevel.checkpoint()
            data, giver = self.store.blocks.get(cid), self._giver(cid)
            if data is None or giver is None:
                missing.append(cid)
                continue
            await self.wire.awake(giver)
            await self.wire.carry(len(data), giver, taker)
            deliver(Block(cid, data))
        if missing:
            raise UnavailableError(f"{len(missing)} of {len(cids)} blocks are not to be had", missing)

    async def drop(self, root: Cid) -> None:
        self.wire.look()
        await super().drop(root)

    async def roots(self) -> Sequence[Cid]:
        self.wire.look()
        return await super().roots()

    def _giver(self, cid: Cid) -> PeerId | None:
        having = (peer for (peer, _), named in self.store.roots.items() if cid in named and self.wire.reaches(peer, self.context.peer))
        return min(having, key=lambda peer: peer in self.wire.frozen, default=None)


class WireAnnouncer(MemoryAnnouncer):
    """Messages in memory. A peer that is frozen sends its own when it goes on; what others send meanwhile depends on the medium."""

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        await self.context.share(Wire).awake(self.context.peer)
        await super().announce(message, channel=channel, replaces=replaces)


class Offers:
    @hookimpl
    def learnae_register_storage(self) -> Mapping[str, type]:
        return {"wire": WireStorage}

    @hookimpl
    def learnae_register_announcer(self) -> Mapping[str, type]:
        return {"wire": WireAnnouncer}


def make_manager() -> PluginManager:
    manager = PluginManager.discover(only=())
    manager.register(Offers(), Plugin("pooled-digits"))
    return manager


class FromPool:
    """Trains as `Learner` does, on what `swarm.dataset` deals: half of each batch are rows of others, as soon as there are enough."""

    def __init__(self, dataset: SwarmDataset, rate: float) -> None:
        self.dataset, self.rate = dataset, rate
        self.batches = dataset.batches(BATCH, foreign=FOREIGN)

    def train(self, model: Model) -> int:
        for _ in range(LOCAL_STEPS):
            rows, labels = (part.numpy() for part in self.dataset.batch(self.batches.deal()))
            sgd_step(model, rows, labels, self.rate)
        return LOCAL_STEPS


def from_pool(
    rows: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], home: Path, name: str, *, rate: float, data: Mapping[str, Any] = GIVES
) -> FromPool:
    """Makes the home, and puts what is given of these rows where its node takes it from."""
    home.mkdir(mode=0o700)
    return FromPool(make_dataset((rows, labels), home, DataTable(**data), peer=name, labels=range(CLASSES)), rate)


def entries(peer: SimulatedPeer) -> Sequence[PooledSlice]:
    return Pool(peer.swarm.folder / peer.name, QUOTA).entries()
