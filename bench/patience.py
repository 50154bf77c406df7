"""What a trainer gains by waiting for its merge, and what it pays: `python bench/patience.py`. Needs scikit-learn; about ten minutes.

Four peers learn the digits through the real node, under virtual time: every run is repeatable, and nothing depends on the machine. What is
modelled is how long things take. A step of the fastest peer takes 50 ms (each one between 40 and 60), a round has 20 steps, and
announcements, reads and merges take what `LINES` says, in seconds. Peers begin at different moments.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: these matrices are too small for threads

import attrs
import numpy as np
import trio
from machine import describe

import learnae
from learnae.demo.digits import Digits, load
from learnae.link.messages import MergeResult
from learnae.node import rounds
from learnae.plugins.hooks import Plugin
from learnae.plugins.manager import PluginManager
from learnae.plugins.memory import MemoryMedium, MemoryStorage
from learnae.testing.swarm import MemoryLink, MemoryTrainer, SimulatedPeer, SimulatedSwarm, run_in_virtual_time
from learnae.trainer.model_progress import WaitBudget
from tests.support.digits_swarm import SPLITS, Learner, accuracy, fresh_model

PATIENCES = (0.0, 0.02, 0.05, 0.1)
SHARES = (0.0, 0.1, 0.2, 0.5)
SPEEDS: Mapping[str, Sequence[float]] = {"equal": (1, 1, 1, 1), "unequal": (1, 1, 0.5, 0.25)}
LOCAL_STEPS, STEP_SECONDS, RATE = 20, 0.05, 0.2
STEPS = 400  # of a peer, on average: where the accuracy is compared
SECONDS = 120.0  # the end of a run
GOALS = {"iid": 0.94, "dirichlet-0.1": 0.80}
SEEDS = (0, 1, 2)


@attrs.frozen
class Line:
    """How long things take, in seconds."""

    announcement: float
    read: float  # each of the three that a fetch consists of
    merge: float


LINES = {"near": Line(0.002, 0.002, 0.005), "far": Line(0.02, 0.015, 0.015)}


class SlowStorage(MemoryStorage):
    read_seconds = 0.0

    async def get(self, cids: Any, deliver: Any, *, hints: Sequence[str] = ()) -> None:
        await trio.sleep(self.read_seconds)
        await super().get(cids, deliver, hints=hints)


@attrs.define
class WakingLink(MemoryLink):
    """Tells the trainer that the node is done with a slot."""

    def release(self, slot: int) -> None:
        super().release(slot)
        self.trainer.news.set()


@attrs.define(kw_only=True)
class PatientTrainer(MemoryTrainer):
    """Waits as `learnae.trainer.session` does. `adopted` is called after each adoption."""

    step_seconds: Callable[[], float]
    merge_seconds: float
    patience: WaitBudget
    adopted: Callable[[PatientTrainer], None]
    news: trio.Event = attrs.field(factory=trio.Event)
    waited: float = 0.0
    _coming: tuple[float, WakingLink, MergeResult] | None = None
    _lent: float = 0.0

    def connect(self, session: str) -> MemoryLink:
        link = super().connect(session)
        self.link = WakingLink(self, link.hello)
        return self.link

    async def train_on(self) -> None:
        began = trio.current_time()
        for step in itertools.count(1):
            await trio.sleep(self.step_seconds())
            self.train(self.model)
            now = self.progress
            self.progress = attrs.evolve(now, steps=now.steps + 1, age=now.age + 1, samples=now.samples + 1)
            self._adopt_what_came()
            if step % LOCAL_STEPS == 0:
                round_seconds, began = trio.current_time() - began, trio.current_time()
                self.patience.earn(round_seconds)
                await self._hand_over(self.patience.seconds)

    def receive(self, link: MemoryLink, offer: MergeResult) -> None:
        arrives = trio.current_time() + self.merge_seconds
        self._coming, self.patience.latency = (arrives, link, offer), arrives - self._lent
        self.news.set()

    async def _hand_over(self, limit: float) -> None:
        self._lent = trio.current_time()
        self.news = trio.Event()
        self.link.take_snapshot()
        if limit > 0:
            with trio.move_on_after(limit):
                await self.news.wait()
                if self._coming is not None:
                    await trio.sleep_until(self._coming[0])
            seconds = trio.current_time() - self._lent
            self.patience.spend(seconds)
            self.waited += seconds
            self._adopt_what_came()

    def _adopt_what_came(self) -> None:
        if self._coming is not None and self._coming[0] <= trio.current_time():
            (_, link, offer), self._coming = self._coming, None
            self._adopt(link, offer)
            self.adopted(self)


@attrs.frozen
class Outcome:
    """Of one run: the mean over the peers."""

    steps_to_goal: float  # of a peer, on average
    seconds_to_goal: float
    accuracy: float  # after STEPS steps of a peer, on average
    waited: float  # the share of the time that the trainers stood still


@attrs.define
class Curve:
    """The mean of the peers' last accuracies, and the mean of their steps, whenever one has adopted."""

    digits: Digits
    trainers: list[PatientTrainer] = attrs.field(factory=list)
    accuracies: dict[str, float] = attrs.field(factory=dict)
    points: list[tuple[float, float, float]] = attrs.field(factory=list)  # steps, seconds, accuracy

    def adopted(self, trainer: PatientTrainer) -> None:
        self.accuracies[trainer.run] = accuracy(trainer.model, self.digits)
        if len(self.accuracies) == len(self.trainers):
            steps = statistics.fmean(trainer.progress.steps for trainer in self.trainers)
            self.points.append((steps, trio.current_time(), statistics.fmean(self.accuracies.values())))

    def outcome(self, goal: float, seconds: float) -> Outcome:
        steps, when, _ = next((point for point in self.points if point[2] >= goal), (float("nan"), float("nan"), 0.0))
        reached = [accuracy for steps, _, accuracy in self.points if STEPS * 0.9 <= steps <= STEPS]
        waited = statistics.fmean(trainer.waited for trainer in self.trainers) / seconds
        return Outcome(steps, when, statistics.fmean(reached), waited)


def one_run(speeds: Sequence[float], split: str, line: Line, patience: float, seed: int, digits: Digits) -> Outcome:
    seconds = min(SECONDS, 1.1 * STEPS * STEP_SECONDS / statistics.fmean(speeds))

    async def main() -> Outcome:
        settings = {"join": {"wait_seconds": 0.0}, "train": {"patience": patience}, "storage": {"use": "slow"}}
        medium = MemoryMedium(delay=lambda rng: line.announcement)
        async with SimulatedSwarm(seed=seed, settings=settings, manager=manager_with_slow_storage(line.read), medium=medium) as swarm:
            curve = Curve(digits)
            for index, (speed, rows) in enumerate(zip(speeds, SPLITS[split](digits.train_y, len(speeds), seed), strict=True)):
                chance = np.random.default_rng([seed, index])
                learner = Learner(digits.train_x[rows], digits.train_y[rows], RATE, chance)
                peer = swarm.peer(f"peer-{index}", fresh_model(seed), learner.train)
                trainer = make_trainer(peer, learner, speed, line, patience, curve.adopted, np.random.default_rng([seed, index, 1]))
                curve.trainers.append(trainer)
                peer.replace_trainer(trainer)
                swarm.nursery.start_soon(start_later, peer, chance.uniform(0, LOCAL_STEPS * STEP_SECONDS / speed))
            await trio.sleep(seconds)
            return curve.outcome(GOALS[split], seconds)

    return run_in_virtual_time(main, seed=seed)


def make_trainer(
    peer: SimulatedPeer, learner: Learner, speed: float, line: Line, patience: float, adopted: Any, chance: np.random.Generator
) -> PatientTrainer:
    plain = peer.trainer
    return PatientTrainer(
        model=plain.model,
        train=lambda model: one_step(learner, model),
        round_seconds=plain.round_seconds,
        run=plain.run,
        progress=attrs.evolve(plain.progress, lineage=b"the-same"),
        step_seconds=lambda: STEP_SECONDS / speed * chance.uniform(0.8, 1.2),
        merge_seconds=line.merge,
        patience=WaitBudget(patience),
        adopted=adopted,
    )


def one_step(learner: Learner, model: Any) -> int:
    batch = learner.rng.integers(len(learner.rows), size=8)
    learner._step(model, learner.rows[batch], learner.labels[batch])
    return 1


async def start_later(peer: SimulatedPeer, seconds: float) -> None:
    await trio.sleep(seconds)
    peer.start()


def manager_with_slow_storage(read_seconds: float) -> PluginManager:
    class MergeResult:
        @learnae.hookimpl
        def learnae_register_storage(self) -> Mapping[str, type[learnae.Storage]]:
            return {"slow": type("Slow", (SlowStorage,), {"read_seconds": read_seconds})}

    manager = PluginManager.discover(only=())
    manager.register(MergeResult(), Plugin("bench"))
    return manager


def mean(values: Iterable[float]) -> str:
    values = list(values)
    return f"{statistics.fmean(values):.0f}"


def rows(peers: str, split: str, line: str, patience: float, seeds: Sequence[int], digits: Digits) -> str:
    runs = [one_run(SPEEDS[peers], split, LINES[line], patience, seed, digits) for seed in seeds]
    accuracies = [run.accuracy for run in runs]
    return (
        f"{mean(run.steps_to_goal for run in runs)} | {statistics.fmean(run.seconds_to_goal for run in runs):.1f} | "
        f"{100 * statistics.fmean(accuracies):.2f} ({100 * min(accuracies):.2f}-{100 * max(accuracies):.2f}) | "
        f"{100 * statistics.fmean(run.waited for run in runs):.1f}"
    )


def table(title: str, cases: Iterable[tuple[str, Callable[[], str]]]) -> None:
    print(f"\n{title}\n")
    print("| peers | data | line | patience | steps to the goal | seconds to the goal | accuracy % (lowest-highest) | time waiting % |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, run in cases:
        print(f"| {name} | {run()} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--lines", nargs="+", choices=LINES, default=tuple(LINES))
    parser.add_argument("--shares", action="store_true", help="the share of its patience for which a node listens on, instead")
    options = parser.parse_args()
    digits = load()
    print(describe())
    if options.shares:
        for share in SHARES:
            with mock.patch.object(rounds, "GATHERING", share):
                table(f"Listening on for {share} of patience 0.1", cases(options.lines, (0.1,), options.seeds, digits))
    else:
        table("Patience", cases(options.lines, PATIENCES, options.seeds, digits))


def cases(
    lines: Sequence[str], patiences: Sequence[float], seeds: Sequence[int], digits: Digits
) -> Iterable[tuple[str, Callable[[], str]]]:
    for line, peers, split in itertools.product(lines, SPEEDS, GOALS):
        for patience in patiences:
            yield f"{peers} | {split} | {line} | {patience}", partial(rows, peers, split, line, patience, seeds, digits)


if __name__ == "__main__":
    main()
