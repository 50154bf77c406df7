"""What it is worth whom a peer fetches from: `python bench/whom_to_fetch.py [--seeds 3] [--quick]`.

Twenty peers learn the digits through the real node under virtual time (setting D20). First: peers with different rows, and selectors that
do not look at rows or that look for different models. Then: a quarter of the peers has lines on which an update takes two rounds, each way.
Nothing depends on the machine. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: these matrices are too small for threads

import attrs
import trio
from machine import describe
from pooled_digits import ON_WIRES, RATE, Wire, make_manager
from tables import show

from learnae.demo.digits import Digits, load
from learnae.testing.swarm import SimulatedSwarm, run_in_virtual_time
from tests.support.digits_swarm import D20, PEERS, ROUNDS, accuracy

SPEED, SLOW_SPEED = 100_000.0, 1_500.0  # bytes a second; an update has some 2,900 bytes
SLOW = PEERS // 4
SHOWN = {"no outer step": {}, "qgo": {"outer": {"use": "qgo"}}}
OF_ROWS = ("uniform", "least-recently-tried", "dissimilar")
OF_SPEED = ("uniform", "least-recently-tried", "nearby")


@attrs.frozen(kw_only=True)
class Case:
    """One swarm; with `slow`, a quarter of it has slow lines."""

    selector: str
    split: str
    seed: int
    rounds: int
    slow: bool = False
    settings: Mapping[str, Any] = attrs.field(factory=dict)

    def run(self, digits: Digits) -> tuple[float, float]:
        """The mean accuracy after the last round, and how many updates a peer merged in a round."""
        return run_in_virtual_time(self._run, digits, seed=self.seed)

    async def _run(self, digits: Digits) -> tuple[float, float]:
        settings = {**ON_WIRES, "join": {"wait_seconds": 0.0}, "selector": {"use": self.selector}, **self.settings}
        async with SimulatedSwarm(seed=self.seed, settings=settings, manager=make_manager()) as swarm:
            crowd = D20(split=self.split, rate=RATE, seed=self.seed).crowd(swarm, digits)
            if self.slow:
                names = [peer.peer for peer in crowd]
                swarm.shared(Wire).speeds = dict.fromkeys(names, SPEED) | dict.fromkeys(names[:SLOW], SLOW_SPEED)
            for peer in crowd:
                peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=b"d20-seed")
                peer.start()
            await trio.sleep(self.rounds + 0.99)
            reports = [report for peer in crowd[SLOW:] for report in peer.trainer.reports]
            found = [accuracy(peer.trainer.model, digits) for peer in crowd]
            return statistics.mean(found), sum(report.merged for report in reports) / max(1, len(reports))


def percent(found: list[float]) -> str:
    return f"{100 * statistics.mean(found):.1f} ({100 * min(found):.1f} to {100 * max(found):.1f})"


def main(seeds: int, rounds: int) -> None:
    print(describe(), flush=True)
    digits = load()
    rows = []
    for selector in OF_ROWS:
        cells = [
            percent([Case(selector=selector, split=split, seed=seed, rounds=rounds, settings=more).run(digits)[0] for seed in range(seeds)])
            for split in ("shards", "dirichlet-0.1")
            for more in SHOWN.values()
        ]
        rows.append([selector, *cells])
    columns = [f"{split}, {outer}" for split in ("two-class shards", "Dirichlet 0.1") for outer in SHOWN]
    show(f"Accuracy after {rounds} rounds in %, mean and extremes of {seeds} seeds", ["selector", *columns], rows)
    rows = []
    for selector in OF_SPEED:
        found = [Case(selector=selector, split="shards", seed=seed, rounds=rounds, slow=True).run(digits) for seed in range(seeds)]
        rows.append([selector, percent([one for one, _ in found]), f"{statistics.mean(merged for _, merged in found):.2f}"])
    title = f"{SLOW} of {PEERS} peers on slow lines, two-class shards: accuracy in %, and what each of the others merged in a round"
    show(title, ["selector", "accuracy", "merged in a round"], rows)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--quick", action="store_true", help="small and meaningless: whether it runs")
    chosen = options.parse_args()
    main(*((1, 3) if chosen.quick else (chosen.seeds, ROUNDS)))
