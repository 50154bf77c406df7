"""What hostile members do to the models of the honest: `python bench/poisoning.py [--seeds 3] [--attack NAME ...] [--set KEY=VALUE ...]`.

Twenty peers learn the digits through the real node under virtual time, each with two classes of them (setting D20, `shards`). Some publish
nonsense from the first round on, signed and sound as to its form: `learnae.testing.attackers` has them. The strategies are the defaults of
a peer's file, or those that `--set` chooses, in the words of `learnae run`. Nothing depends on the machine but how long it takes: a run is
20 seconds of one core. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: these matrices are too small for threads

from machine import describe
from tables import show

from learnae.config import presets
from learnae.config.load import override
from learnae.config.problems import Problems
from learnae.testing.attackers import ATTACKS
from tests.support.digits_swarm import D20, PEERS, ROUNDS

SPLIT, RATE = "shards", 0.3
SHARES = (0.1, 0.2)
COMMON = ("sign flip of the mean", "stale models", "common far point", "label flip", "mean minus 1.5 sigma")


def run(case: D20) -> float:
    """The mean of the honest peers' accuracies after the last round, in %."""
    return 100 * statistics.mean(case.accuracies())


def main(attacks: Sequence[str], seeds: int, rounds: int, settings: Mapping[str, Any], processes: int) -> None:
    print(describe(), flush=True)
    cells = [("", 0.0), *((attack, share) for attack in attacks for share in SHARES)]
    cases = [
        D20(split=SPLIT, rate=RATE, seed=seed, rounds=rounds, settings=settings, attack=attack, hostile=round(share * PEERS))
        for attack, share in cells
        for seed in range(seeds)
    ]
    with get_context("spawn").Pool(processes) as pool:
        found = pool.map(run, cases, chunksize=1)
    of = {cell: _words(found[place * seeds : (place + 1) * seeds]) for place, cell in enumerate(cells)}
    show(
        f"Accuracy of the honest after {rounds} rounds in %, mean and extremes of {seeds} seeds; nobody hostile: {of[cells[0]]}",
        ["attack", *(f"{share:.0%} hostile" for share in SHARES)],
        [[attack, *(of[attack, share] for share in SHARES)] for attack in attacks],
    )


def _words(found: Sequence[float]) -> str:
    return f"{statistics.mean(found):.0f} ({min(found):.0f} to {max(found):.0f})"


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--attack", action="append", choices=list(ATTACKS), help="once for each; all those of docs/security.md if none")
    options.add_argument("--all", action="store_true", help="every attack that there is")
    options.add_argument("--processes", type=int, default=2, help="runs at a time")
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as outer.use=qgo")
    options.add_argument("--quick", action="store_true", help="small and meaningless: whether it runs")
    chosen = options.parse_args()
    problems = Problems()
    settings, _ = override({"preset": presets.DEFAULT}, chosen.set, problems)
    problems.raise_any(list)
    wanted = list(ATTACKS) if chosen.all else chosen.attack or COMMON
    seeds, rounds = (1, 8) if chosen.quick else (chosen.seeds, ROUNDS)
    main(wanted, seeds, rounds, settings, chosen.processes)
