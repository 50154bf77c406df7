"""Setting D20: 20 peers, the digits of scikit-learn, a small network in numpy, under virtual time and through the real node.

A researcher tries a merge rule here in seconds; in the field the same strategies run unchanged. Needs scikit-learn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import trio

from learnae.demo.digits import CLASSES, Digits, load
from learnae.testing.attackers import ATTACKS, Knowledge, attacker, flip_labels
from learnae.testing.swarm import Model, SimulatedPeer, SimulatedSwarm, run_in_virtual_time
from tests.support import partitions

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPLITS: Mapping[str, Callable[[Any, int, int], partitions.Rows]] = {
    "iid": partitions.iid,
    "dirichlet-1.0": lambda labels, peers, seed: partitions.dirichlet(labels, peers, 1.0, seed),
    "dirichlet-0.1": lambda labels, peers, seed: partitions.dirichlet(labels, peers, 0.1, seed),
    "shards": partitions.shards,
}
PEERS, ROUNDS, LOCAL_STEPS, BATCH, HIDDEN = 20, 100, 5, 8, 32
SLOW_SECONDS = 8.0


@attrs.define
class Learner:
    """Plain SGD on a MLP 64-32-10 with ReLU, batch 8."""

    rows: NDArray[np.float32]  # n x 64
    labels: NDArray[np.int64]  # n
    rate: float
    rng: np.random.Generator

    def train(self, model: Model) -> int:
        for _ in range(LOCAL_STEPS):
            batch = self.rng.integers(len(self.rows), size=BATCH)
            sgd_step(model, self.rows[batch], self.labels[batch], self.rate)
        return LOCAL_STEPS


def sgd_step(model: Model, rows: NDArray[np.float32], labels: NDArray[np.int64], rate: float) -> None:
    """One step of plain SGD on the cross-entropy of this batch, in place."""
    hidden = np.maximum(rows @ model["in.weight"].T + model["in.bias"], 0)
    error = _softmax(hidden @ model["out.weight"].T + model["out.bias"])
    error[np.arange(len(labels)), labels] -= 1
    error /= len(labels)
    back = (error @ model["out.weight"]) * (hidden > 0)
    for name, gradient in (
        ("out.weight", error.T @ hidden),
        ("out.bias", error.sum(0)),
        ("in.weight", back.T @ rows),
        ("in.bias", back.sum(0)),
    ):
        model[name] -= np.float32(rate) * gradient


def fresh_model(seed: int) -> Model:
    """N(0, 2/64) and N(0, 1/32) initial weights, zero biases; 2,410 parameters."""
    rng = np.random.default_rng(seed)
    return {
        "in.weight": rng.normal(0, (2 / 64) ** 0.5, (HIDDEN, 64)).astype(np.float32),
        "in.bias": np.zeros(HIDDEN, np.float32),
        "out.weight": rng.normal(0, (1 / HIDDEN) ** 0.5, (10, HIDDEN)).astype(np.float32),
        "out.bias": np.zeros(10, np.float32),
    }


def accuracy(model: Mapping[str, Any], digits: Digits) -> float:
    """On all test rows."""
    hidden = np.maximum(digits.test_x @ model["in.weight"].T + model["in.bias"], 0)
    found = (hidden @ model["out.weight"].T + model["out.bias"]).argmax(1)
    return float((found == digits.test_y).mean())


@attrs.frozen(kw_only=True)
class D20:
    """One run of the setting; `split` is a key of `SPLITS`. The first `hostile` peers are attackers of this kind."""

    split: str
    rate: float
    seed: int = 0
    peers: int = PEERS
    rounds: int = ROUNDS
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    attack: str = ""  # a key of `learnae.testing.attackers.ATTACKS`
    hostile: int = 0
    slow: int = 0  # so many of the last peers take eight times as long for a round

    def accuracies(self) -> list[float]:
        """Of each honest peer after its last merge, from 0 to 1."""
        return run_in_virtual_time(self._run, load(), seed=self.seed)

    async def _run(self, digits: Digits) -> list[float]:
        async with SimulatedSwarm(seed=self.seed, settings={"join": {"wait_seconds": 0.0}, **self.settings}) as swarm:
            crowd = self.crowd(swarm, digits)
            for peer in crowd:
                peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=b"d20-seed")
                peer.start()
            await trio.sleep(self.rounds + 0.99)
            return [accuracy(peer.trainer.model, digits) for peer in crowd[self.hostile :]]

    def crowd(self, swarm: SimulatedSwarm, digits: Digits) -> Sequence[SimulatedPeer]:
        """All start from the same weights; each has its own rows."""
        knowledge, crowd = Knowledge(fresh_model(self.seed)), []
        for index, rows in enumerate(SPLITS[self.split](digits.train_y, self.peers, self.seed)):
            attack = ATTACKS[self.attack]() if index < self.hostile else None
            labels = digits.train_y[rows]
            labels = flip_labels(labels, CLASSES) if attack is not None and attack.flips_labels else labels
            train = Learner(digits.train_x[rows], labels, self.rate, np.random.default_rng([self.seed, index])).train
            name = f"peer-{index}"
            known = knowledge.watch(name, train) if attack is None else attacker(attack, train, knowledge)
            seconds = itertools.repeat(SLOW_SECONDS if index >= self.peers - self.slow else 1.0)
            crowd.append(swarm.peer(name, fresh_model(self.seed), known, round_seconds=seconds.__next__))
        return crowd


def run_d20(
    split: str, rate: float, *, seed: int = 0, peers: int = PEERS, rounds: int = ROUNDS, settings: Mapping[str, Any] | None = None
) -> list[float]:
    """The accuracy of each peer after its last merge; `split` is "iid", "dirichlet-0.1" or "shards"."""
    return D20(split=split, rate=rate, seed=seed, peers=peers, rounds=rounds, settings=settings or {}).accuracies()


def _softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    powers: NDArray[np.float32] = np.exp(scores - scores.max(1, keepdims=True))
    powers /= powers.sum(1, keepdims=True)
    return powers
