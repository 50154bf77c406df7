"""What a few shared rows are worth, and what to fetch first: `python bench/data_exchange.py [--seeds 3] [--ablation] [--quick]`.

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: these matrices are too small for threads

import attrs
import numpy as np
import trio
from machine import describe
from planner_terms import ABLATION, selector_named, with_variants
from pooled_digits import GIVES, ON_WIRES, RATE, SPLIT, Wire, entries, from_pool, make_manager
from tables import show

from learnae.demo.digits import Digits, load
from learnae.records import PeerId
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm, run_in_virtual_time
from tests.support.digits_swarm import PEERS, ROUNDS, SPLITS, Learner, accuracy, fresh_model

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
Orders = Mapping[str, tuple[Callable[[Sequence[PeerId]], Settings], bool]]
ORDERS: Orders = {
    "updates only": (defaults, False),
    "everything that is new": (everything, True),
    "the defaults, with slices": (defaults, True),
    "planner": (planner, True),
}


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
        common = {**ON_WIRES, "join": {"wait_seconds": 0.0}, "data": GIVES if self.pooled else {}}
        async with SimulatedSwarm(seed=self.seed, settings=common, folder=folder, manager=with_variants(make_manager())) as swarm:
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
            train = from_pool(rows, labels, swarm.folder / name, f"{self.seed} {name}", rate=self.rate).train
        return swarm.peer(name, fresh_model(self.seed), train)


def accuracies(crowd: Sequence[SimulatedPeer], digits: Digits) -> list[float]:
    return [accuracy(peer.trainer.model, digits) for peer in crowd]


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


def variant(name: str) -> Callable[[Sequence[PeerId]], Settings]:
    return lambda peers: {"selector": {"use": selector_named(name)}}


def how_many_bytes(digits: Digits, seeds: int, rounds: int, rate: float, orders: Orders) -> None:
    rows = []
    for name, (way, pooled) in orders.items():
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


def main(seeds: int, rounds: int, rate: float, *, ablation: bool) -> None:
    print(describe(), flush=True)
    digits = load()
    if ablation:
        how_many_bytes(digits, seeds, rounds, rate, {name: (variant(name), True) for name in ABLATION})
    else:
        how_far(digits, seeds, rounds, rate)
        how_many_bytes(digits, seeds, rounds, rate, ORDERS)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--rate", type=float, default=RATE, help="the learning rate")
    options.add_argument("--ablation", action="store_true", help="the planner's formula without each of its terms")
    options.add_argument("--quick", action="store_true", help="small and meaningless: whether it runs")
    chosen = options.parse_args()
    seeds, rounds = (1, 8) if chosen.quick else (chosen.seeds, ROUNDS)
    main(seeds, rounds, chosen.rate, ablation=chosen.ablation)
