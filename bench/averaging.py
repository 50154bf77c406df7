"""Averaging alone, through the real node: `python bench/averaging.py [--peers 64] [--restarts 1] [--quick]`.

Table T1 of the literature notes: peers hold one number each, from N(0, 1), and nobody trains. How many rounds until the variance over the
peers is below 1e-9, and below 1e-4? The published rows are those of the notebook of Moshpit SGD (arXiv:2103.03239): 512 peers in random
groups of 32, of each of which one number is made. A peer that fetches 31 others, drawn at random, averages as many. A peer that fails is
away for a round. Real nodes under virtual time, whose rounds begin together; beside them the same in a few lines of numpy, without nodes,
with as many peers and with 512: of few peers 32 are a larger part, and fewer rounds do.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import statistics
from collections.abc import Callable, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import attrs
import numpy as np
import trio
from machine import describe
from tables import show

from learnae.node.history import PeerRecord
from learnae.testing.swarm import Model, SimulatedPeer, SimulatedSwarm, run_in_virtual_time

GOALS = (1e-9, 1e-4)
LONGEST = 50  # rounds, as in the notebook
BEGUN = 2


@attrs.frozen
class Row:
    fetched: int
    away: float  # the probability that a peer is away in a round
    published: str


ROWS = (
    Row(31, 0.0, "6.1 (3.0)"),
    Row(31, 0.01, "6.6 (3.0)"),
    Row(4, 0.0, "none"),
    Row(2, 0.0, "none"),
)
PUBLISHED_PEERS, SIMULATED_RESTARTS = 512, 10


def rounds_needed(peers: int, row: Row, seed: int) -> tuple[float, ...]:
    """To each goal; more than `LONGEST` is infinity."""
    return _crossings(run_in_virtual_time(_variances, peers, row, seed, seed=seed))


def simulated(peers: int, row: Row, seed: int) -> tuple[float, ...]:
    """The same without a network: all that are there take the mean of the own number and of those of others who are there."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=peers)
    variances = [float(numbers.var())]
    while variances[-1] >= min(GOALS) and len(variances) <= LONGEST:
        there = np.flatnonzero(rng.random(peers) >= row.away)
        means = [numbers[[one, *rng.choice(there[there != one], min(row.fetched, len(there) - 1), replace=False)]].mean() for one in there]
        numbers[there] = means
        variances.append(float(numbers.var()))
    return _crossings(variances)


def _crossings(variances: Sequence[float]) -> tuple[float, ...]:
    return tuple(next((float(round_) for round_, one in enumerate(variances) if one < goal), math.inf) for goal in GOALS)


async def _variances(count: int, row: Row, seed: int) -> list[float]:
    """Over the peers, at the start and after each round."""
    rng = np.random.default_rng(seed)
    choice = {"use": "uniform", "count": row.fetched}
    settings = {"join": {"wait_seconds": 0.0}, "gate": [{"use": "sane"}], "selector": choice, "codec": {"use": "fp32"}}
    async with SimulatedSwarm(seed=seed, settings=settings) as swarm:
        holders = [Holder(np.float32(rng.normal())) for _ in range(count)]
        crowd = [
            swarm.peer(f"peer-{index}", holder.model(), holder.train, round_seconds=_rounds(rng, row.away))
            for index, holder in enumerate(holders)
        ]
        for peer in crowd:
            _acquaint(peer, crowd)
            peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=b"averages")
            peer.start()
        variances = [float(np.var([holder.number for holder in holders], dtype=np.float64))]
        await trio.sleep(1.9)
        while variances[-1] >= min(GOALS) and len(variances) <= LONGEST:
            await trio.sleep(1.0)
            variances.append(float(np.var([peer.trainer.model["number"][0] for peer in crowd], dtype=np.float64)))
        return variances


@attrs.define
class Holder:
    """A trainer that trains nothing. It brings its number to its second round: in the first, peers look before all have announced."""

    number: np.float32
    _rounds: int = 0

    def model(self) -> Model:
        return {"number": np.zeros(1, np.float32)}

    def train(self, model: Model) -> int:
        self._rounds += 1
        if self._rounds == BEGUN:
            model["number"][0] = self.number
        return 1


def _rounds(rng: np.random.Generator, away: float) -> Callable[[], float]:
    """A second for each round, and one more for each that the peer is away."""
    return lambda: 1.0 + next(missed for missed in itertools.count() if rng.random() >= away)


def _acquaint(peer: SimulatedPeer, crowd: Sequence[SimulatedPeer]) -> None:
    """They have merged each other's updates before: of strangers a peer takes few at a time."""
    known = {other.peer: PeerRecord(ever_accepted=True, trust=1.0) for other in crowd if other is not peer}
    peer.history.save_peers(marks={}, peers=known, counts={})


def _text(runs: Sequence[tuple[float, ...]]) -> str:
    tight, loose = (statistics.fmean(column) for column in zip(*runs, strict=True))
    return f"{tight:.1f} ({loose:.1f})"


def main(rows: Sequence[Row], peers: int, restarts: int) -> None:
    print(describe(), flush=True)
    cells = []
    for row in rows:
        ours = _text([rounds_needed(peers, row, seed) for seed in range(restarts)])
        plain = [_text([simulated(many, row, seed) for seed in range(SIMULATED_RESTARTS)]) for many in (PUBLISHED_PEERS, peers)]
        cells.append([f"{row.fetched} fetched, away {row.away:g}", row.published, *plain, ours])
        print(f"{cells[-1][0]}: {ours}", flush=True)
    header = ["a round of each peer", "published, 512 peers", "in numpy, 512 peers", f"in numpy, {peers}", f"real nodes, {peers}"]
    show(f"Rounds until the variance is below 1e-9 (1e-4); restarts of the nodes: {restarts}", header, cells)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--peers", type=int, default=64)
    options.add_argument("--restarts", type=int, default=1)
    options.add_argument("--quick", action="store_true", help="one row with few peers")
    chosen = options.parse_args()
    main(*((ROWS[-1:], 16, 1) if chosen.quick else (ROWS, chosen.peers, chosen.restarts)))
