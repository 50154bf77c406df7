"""What hostile members do to the models of the honest: `python bench/poisoning.py [--seeds 3] [--set KEY=VALUE ...] [--quick]`.

Twenty peers learn the digits through the real node under virtual time, each with two classes of them (setting D20, `shards`). Some publish
nonsense from the first round on, signed and sound as to its form. The strategies are the defaults of a peer's file, or those that `--set`
chooses, in the words of `learnae run`. Nothing depends on the machine. Needs scikit-learn; ten minutes.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Mapping
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: these matrices are too small for threads

import attrs
import numpy as np
import trio
from machine import describe
from tables import show

from learnae.config.load import override
from learnae.config.problems import Problems
from learnae.demo.digits import CLASSES, Digits, load
from learnae.testing.swarm import Model, SimulatedSwarm, Train, run_in_virtual_time
from tests.support.digits_swarm import PEERS, ROUNDS, SPLITS, Learner, accuracy, fresh_model

SPLIT, RATE = "shards", 0.3
FAR = 10.0  # the length of each value of the common point, in standard deviations of fresh weights
SHARES = (0.1, 0.2)


def flip_signs(model: Model, honest: Train) -> int:
    """Trains as the honest do, and publishes all of it negated."""
    steps = honest(model)
    for tensor in model.values():
        np.negative(tensor, out=tensor)
    return steps


def stay_stale(model: Model, honest: Train) -> int:
    """Publishes the weights that all began with, for ever."""
    steps = honest(model)
    _write(model, fresh_model(0))
    return steps


def be_far_away(model: Model, honest: Train) -> int:
    """All liars publish one and the same point."""
    steps = honest(model)
    _write(model, {name: FAR * array for name, array in fresh_model(12345).items()})
    return steps


def learn_wrongly(model: Model, honest: Train) -> int:
    """Its rows have other labels (see `_trainer`): the training itself is sound."""
    return honest(model)


ATTACKS: Mapping[str, Callable[[Model, Train], int]] = {
    "sign flip": flip_signs,
    "stale models": stay_stale,
    "one common far point": be_far_away,
    "label flip": learn_wrongly,
}


@attrs.frozen
class Case:
    """`attack` of so many peers; none of an attack that is called ''."""

    attack: str
    liars: int
    seed: int
    rounds: int
    settings: Mapping[str, Any] = attrs.field(factory=dict)

    def accuracy(self, digits: Digits) -> float:
        """The mean of the honest peers' after the last round, from 0 to 1."""
        return run_in_virtual_time(self._run, digits, seed=self.seed)

    async def _run(self, digits: Digits) -> float:
        async with SimulatedSwarm(seed=self.seed, settings={"join": {"wait_seconds": 0.0}, **self.settings}) as swarm:
            crowd = []
            for index, rows in enumerate(SPLITS[SPLIT](digits.train_y, PEERS, self.seed)):
                train = self._trainer(digits.train_x[rows], digits.train_y[rows], index)
                peer = swarm.peer(f"peer-{index}", fresh_model(0), train)
                peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=b"poisoned")
                peer.start()
                crowd.append(peer)
            await trio.sleep(self.rounds + 0.99)
            return statistics.mean(accuracy(peer.trainer.model, digits) for peer in crowd[self.liars :])

    def _trainer(self, rows: np.ndarray, labels: np.ndarray, index: int) -> Train:
        lies = index < self.liars
        labels = CLASSES - 1 - labels if lies and self.attack == "label flip" else labels
        honest = Learner(rows, labels, RATE, np.random.default_rng([self.seed, index])).train
        return (lambda model: ATTACKS[self.attack](model, honest)) if lies else honest


def main(seeds: int, rounds: int, settings: Mapping[str, Any]) -> None:
    print(describe(), flush=True)
    digits = load()

    def cell(attack: str, liars: int) -> str:
        found = [100 * Case(attack, liars, seed, rounds, settings).accuracy(digits) for seed in range(seeds)]
        return f"{statistics.mean(found):.0f} ({min(found):.0f} to {max(found):.0f})"

    rows = [[attack, *(cell(attack, round(share * PEERS)) for share in SHARES)] for attack in ATTACKS]
    untouched = cell("", 0)
    show(
        f"Accuracy of the honest after {rounds} rounds in %, mean and extremes of {seeds} seeds; nobody hostile: {untouched}",
        ["attack", *(f"{share:.0%} hostile" for share in SHARES)],
        rows,
    )


def _write(model: Model, other: Model) -> None:
    for name, tensor in model.items():
        tensor[...] = other[name]


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as outer.use=qgo")
    options.add_argument("--quick", action="store_true", help="small and meaningless: whether it runs")
    chosen = options.parse_args()
    problems = Problems()
    settings, _ = override({}, chosen.set, problems)
    problems.raise_any(list)
    main(1, 8, settings) if chosen.quick else main(chosen.seeds, ROUNDS, settings)
