"""What a few shared rows are worth, and what to fetch first: `python bench/data_exchange.py [--seeds 3] [--quick]`.

Twenty peers learn the digits through the real node under virtual time, each with two classes of them (setting D20, `shards`). By consent
each gives 5 % of its rows as slices, and draws half of every batch from its pool. First: how far they come, without updates, over a static
ring, and with the defaults. Then: how many bytes they fetch until 90 %, where one peer has a tenth of the bandwidth. Nothing depends on
the machine. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: these matrices are too small for threads

import attrs
import numpy as np
import trio
from machine import describe
from tables import show

from learnae.config.tables import DataTable
from learnae.data.pool import Pool
from learnae.data.pool_index import PooledSlice
from learnae.demo.digits import CLASSES, Digits, load
from learnae.errors import UnavailableError
from learnae.hookspecs import hookimpl
from learnae.plugins.hooks import Plugin
from learnae.plugins.manager import PluginManager
from learnae.plugins.memory import MemoryStorage
from learnae.records import Block, Cid, PeerId
from learnae.testing.swarm import Model, SimulatedPeer, SimulatedSwarm, run_in_virtual_time
from learnae.trainer.dataset import SwarmDataset, make_dataset
from tests.support.digits_swarm import BATCH, LOCAL_STEPS, PEERS, ROUNDS, SPLITS, Learner, accuracy, fresh_model, sgd_step

SPLIT, RATE, FOREIGN = "shards", 0.3, 0.5
QUOTA = 1 << 20
GIVES: Mapping[str, Any] = {"share": "slices", "share_fraction": 0.05, "licence": "BSD-3-Clause", "accept_bytes": QUOTA}
GOAL = 0.90
SPEED = 100_000.0  # bytes a second, each way; the slow peer has a tenth

MEAN = {"use": "average", "weight": "equal", "staleness_power": 0.0}
Settings = Mapping[str, Any]


def nobody(peers: Sequence[PeerId]) -> Settings:
    return {"selector": {"use": "fixed"}}


def ring(peers: Sequence[PeerId]) -> Settings:
    return {"selector": {"use": "fixed", "shape": "ring", "peers": list(peers)}, "merge": MEAN, "gate": []}


def defaults(peers: Sequence[PeerId]) -> Settings:
    return {}


def planner(peers: Sequence[PeerId]) -> Settings:
    return {"selector": {"use": "planner"}}


def everything(peers: Sequence[PeerId]) -> Settings:
    return {"selector": {"use": "fixed", "peers": list(peers), "count": len(peers) - 1}}


Ways = Mapping[str, Callable[[Sequence[PeerId]], Settings]]
WAYS: Ways = {"no updates": nobody, "static ring, mean": ring, "the defaults": defaults}
GOALS = {"no updates": "21 / 84", "static ring, mean": "74 / 91"}
ORDERS: Mapping[str, tuple[Callable[[Sequence[PeerId]], Settings], bool]] = {
    "updates only": (defaults, False),
    "everything that is new": (everything, True),
    "the defaults, with slices": (defaults, True),
    "planner": (planner, True),
}


@attrs.define
class Wire:
    """What all have fetched, and how fast their lines are: one transfer after the other, on the giver's way up and then on the way down."""

    speeds: Mapping[PeerId, float] = attrs.field(factory=dict)  # bytes a second; who is not here is as fast as can be
    fetched: Counter[PeerId] = attrs.field(factory=Counter)
    _free: dict[tuple[PeerId, str], float] = attrs.field(factory=dict)

    async def carry(self, size: int, giver: PeerId | None, taker: PeerId) -> None:
        self.fetched[taker] += size
        for peer, way in ((giver, "up"), (taker, "down")):
            if peer is not None and peer in self.speeds:
                ends = max(trio.current_time(), self._free.get((peer, way), 0.0)) + size / self.speeds[peer]
                self._free[peer, way] = ends
                await trio.sleep_until(ends)


class WireStorage(MemoryStorage):
    """Blocks in memory that take their time."""

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        missing = []
        for cid in dict.fromkeys(cids):
            await trio.lowlevel.checkpoint()
            data = self.store.blocks.get(cid)
            if data is None:
                missing.append(cid)
                continue
            giver = next((peer for (peer, _), named in self.store.roots.items() if cid in named), None)
            await self.context.share(Wire).carry(len(data), giver, self.context.peer)
            deliver(Block(cid, data))
        if missing:
            raise UnavailableError(f"{len(missing)} of {len(cids)} blocks are not in memory", missing)


class Offers:
    @hookimpl
    def learnae_register_storage(self) -> Mapping[str, type]:
        return {"wire": WireStorage}


def make_manager() -> PluginManager:
    manager = PluginManager.discover(only=())
    manager.register(Offers(), Plugin("data-exchange"))
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


@attrs.frozen(kw_only=True)
class Outcome:
    """After so many rounds. Means over the peers, and of peer 0 alone."""

    accuracy: float
    accuracy_of_first: float
    kilobytes: float  # fetched
    kilobytes_of_first: float
    rows: float  # in the pool
    labels: float  # that they have
    rounds: int


@attrs.frozen(kw_only=True)
class Case:
    """One run. If it is `slow`, the lines have a bandwidth, that of peer 0 a tenth of it, and it ends when the mean reaches the goal."""

    way: Callable[[Sequence[PeerId]], Settings]
    pooled: bool
    seed: int
    rounds: int = ROUNDS
    rate: float = RATE
    slow: bool = False

    def run(self, digits: Digits) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="learnae-bench-") as folder:
            return run_in_virtual_time(self._run, digits, Path(folder), seed=self.seed)

    async def _run(self, digits: Digits, folder: Path) -> Outcome:
        common = {"join": {"wait_seconds": 0.0}, "storage": {"use": "wire"}, "data": GIVES if self.pooled else {}}
        async with SimulatedSwarm(seed=self.seed, settings=common, folder=folder, manager=make_manager()) as swarm:
            crowd = [
                self._peer(swarm, digits.train_x[rows], digits.train_y[rows], index)
                for index, rows in enumerate(SPLITS[SPLIT](digits.train_y, PEERS, self.seed))
            ]
            names, wire = [peer.peer for peer in crowd], swarm.shared(Wire)
            if self.slow:
                wire.speeds = dict.fromkeys(names, SPEED) | {names[0]: SPEED / 10}
            for peer in crowd:
                peer.settings = self.way(names)
                peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=b"exchange")
                peer.start()
            await trio.sleep(0.99)
            rounds = 0
            while rounds < self.rounds:
                await trio.sleep(1.0)
                rounds += 1
                if self.slow and mean(accuracies(crowd, digits)) >= GOAL:
                    break
            found = accuracies(crowd, digits)
            return Outcome(
                accuracy=mean(found),
                accuracy_of_first=found[0],
                kilobytes=mean(wire.fetched[name] for name in names) / 1000,
                kilobytes_of_first=wire.fetched[names[0]] / 1000,
                rows=mean(sum(one.rows for one in entries(peer)) for peer in crowd),
                labels=mean(len({label for one in entries(peer) for label in one.labels}) for peer in crowd),
                rounds=rounds,
            )

    def _peer(self, swarm: SimulatedSwarm, rows: np.ndarray, labels: np.ndarray, index: int) -> SimulatedPeer:
        name, train = f"peer-{index}", Learner(rows, labels, self.rate, np.random.default_rng([self.seed, index])).train
        if self.pooled:
            home = swarm.folder / name
            home.mkdir(mode=0o700)
            dataset = make_dataset((rows, labels), home, DataTable(**GIVES), peer=f"{self.seed} {name}", labels=range(CLASSES))
            train = FromPool(dataset, self.rate).train
        return swarm.peer(name, fresh_model(self.seed), train)


def accuracies(crowd: Sequence[SimulatedPeer], digits: Digits) -> list[float]:
    return [accuracy(peer.trainer.model, digits) for peer in crowd]


def entries(peer: SimulatedPeer) -> Sequence[PooledSlice]:
    return Pool(peer.swarm.folder / peer.name, QUOTA).entries()


def mean(values: Iterable[float]) -> float:
    return statistics.mean(values)


def percent(values: Sequence[float]) -> str:
    return f"{100 * mean(values):.1f} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def how_far(digits: Digits, seeds: int, rounds: int, rate: float) -> None:
    rows = []
    for name, way in WAYS.items():
        alone, pooled = (
            [Case(way=way, pooled=pooled, seed=seed, rounds=rounds, rate=rate).run(digits) for seed in range(seeds)]
            for pooled in (False, True)
        )
        rows.append(
            [
                name,
                percent([one.accuracy for one in alone]),
                percent([one.accuracy for one in pooled]),
                GOALS.get(name, ""),
                f"{mean(one.kilobytes for one in alone):.0f}",
                f"{mean(one.kilobytes for one in pooled):.0f}",
                f"{mean(one.rows for one in pooled):.0f}",
                f"{mean(one.labels for one in pooled):.1f}",
            ]
        )
    show(
        f"Accuracy after {rounds} rounds in %, mean and extremes of {seeds} seeds; and what each peer has fetched",
        ["updates", "without the pool", "with the pool", "goals", "kB without", "kB with", "rows in the pool", "labels in it"],
        rows,
    )


def how_many_bytes(digits: Digits, seeds: int, rounds: int, rate: float) -> None:
    rows = []
    for name, (way, pooled) in ORDERS.items():
        found = [Case(way=way, pooled=pooled, seed=seed, rounds=rounds, rate=rate, slow=True).run(digits) for seed in range(seeds)]
        there = sum(one.accuracy >= GOAL for one in found)
        rows.append(
            [
                name,
                f"{there} of {seeds}",
                f"{mean(one.rounds for one in found):.0f}",
                f"{mean(one.kilobytes for one in found):.0f}",
                f"{mean(one.kilobytes_of_first for one in found):.0f}",
                percent([one.accuracy for one in found]),
                percent([one.accuracy_of_first for one in found]),
            ]
        )
    show(
        f"Until the mean is {GOAL:.0%}, or {rounds} rounds are over; peer 0 has {SPEED / 10_000:.0f} kB/s, the others ten times as much",
        ["what is fetched", "reached it", "rounds", "kB a peer", "kB of the slow one", "accuracy in %", "of the slow one"],
        rows,
    )


def main(seeds: int, rounds: int, rate: float) -> None:
    print(describe(), flush=True)
    digits = load()
    how_far(digits, seeds, rounds, rate)
    how_many_bytes(digits, seeds, rounds, rate)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--rate", type=float, default=RATE, help="the learning rate")
    options.add_argument("--quick", action="store_true", help="small and meaningless: whether it runs")
    chosen = options.parse_args()
    main(1, 8, chosen.rate) if chosen.quick else main(chosen.seeds, ROUNDS, chosen.rate)
