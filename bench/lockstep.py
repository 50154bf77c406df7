"""Learnae beside exact averages where nothing comes late: `python bench/lockstep.py [--skewed] [--peers 4] [--seeds 1] [--quick]`.

The task of `comparison.py`, through the real node under virtual time: all peers begin their rounds together, and each merge is there before
the next step. What is lost beside the average of all, which gloo makes, is then the rule's doing and not that of a busy machine. "After"
is the mean accuracy of the peers after a merge, "before" that of the models that are trained, just before it; both over the second half of
the rounds. Steps are those to 99.5 % of what exact averages have in the end. Needs torch.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import attrs
import task
import torch
import trio
from comparison import SKEWED_TEST_ROWS
from machine import describe
from tables import show

from learnae.testing.swarm import SimulatedSwarm, run_in_virtual_time

LOCAL_STEPS, GOAL, EXACT = 50, 0.995, "the average of all"
Settings = Mapping[str, Any]
NO_OUTER, THREE = {"outer": {"use": "none"}}, {"selector": {"count": 3}}
WAYS: Mapping[str, Settings] = {
    "the default: two fetched, `qgo`": {},
    "two fetched, no outer step": NO_OUTER,
    "three fetched, `qgo`": THREE,
    "three fetched, no outer step": {**NO_OUTER, **THREE},
    "two fetched, `qgo` 0.5 / 0.7": {"outer": {"use": "qgo", "momentum": 0.5, "rate": 0.7}},
}


@attrs.frozen
class Task:
    """What all ways do."""

    peers: int
    rounds: int
    rows: int
    test_rows: int
    skewed: bool

    def trainings(self, seed: int) -> list[task.Training]:
        shares = [
            task.load(seed, self.rows, self.test_rows, rank=rank, peers=self.peers, divided=self.skewed) for rank in range(self.peers)
        ]
        return [task.Training(task.make_model(seed), share, seed=seed * 1000 + rank) for rank, share in enumerate(shares)]


@attrs.define
class Course:
    """A value for each round: means over the peers."""

    before: list[float] = attrs.field(factory=list)
    after: list[float] = attrs.field(factory=list)
    received: float = 0.0  # MB of a peer, without announcements

    def steps_to(self, accuracy: float) -> float:
        return next((LOCAL_STEPS * (round_ + 1) for round_, one in enumerate(self.after) if one >= accuracy), math.inf)


def exact(what: Task, seed: int) -> Course:
    crowd, course = what.trainings(seed), Course()
    for _ in range(what.rounds):
        for one in crowd:
            _train(one)
        course.before.append(_accuracy(crowd))
        mean = torch.stack([torch.nn.utils.parameters_to_vector(one.model.parameters()).detach() for one in crowd]).mean(0)
        for one in crowd:
            torch.nn.utils.vector_to_parameters(mean.clone(), one.model.parameters())
        course.after.append(_accuracy(crowd))
    return course


def swarm(settings: Settings, what: Task, seed: int) -> Course:
    return run_in_virtual_time(_swarm, settings, what, seed, seed=seed)


async def _swarm(settings: Settings, what: Task, seed: int) -> Course:
    crowd, course = what.trainings(seed), Course()
    said = {"preset": "open", "join": {"wait_seconds": 0.0}, **settings}
    async with SimulatedSwarm(seed=seed, settings=said) as simulated:
        trainers = [_Trainer(one) for one in crowd]
        peers = [simulated.peer(f"peer-{rank}", _arrays(one.training), one.train) for rank, one in enumerate(trainers)]
        for peer in peers:
            peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=b"lockstep")
            peer.start()
        await trio.sleep(0.9)
        for _ in range(what.rounds):
            await trio.sleep(1.0)
            course.after.append(_accuracy(crowd))
        course.before = [statistics.fmean(column) for column in zip(*(one.before for one in trainers), strict=True)]
        course.received = statistics.fmean(sum(report.fetched_bytes for report in peer.trainer.reports) for peer in peers) / 1e6
        return course


@attrs.define
class _Trainer:
    training: task.Training
    before: list[float] = attrs.field(factory=list)

    def train(self, model: Mapping[str, Any]) -> int:
        """`model` is the memory of the parameters."""
        _train(self.training)
        self.before.append(task.accuracy(self.training.model, self.training.data))
        return LOCAL_STEPS


def _train(training: task.Training) -> None:
    for _ in range(LOCAL_STEPS):
        training.step()


def _arrays(training: task.Training) -> dict[str, Any]:
    return {name: parameter.detach().numpy() for name, parameter in training.model.named_parameters()}


def _accuracy(crowd: Sequence[task.Training]) -> float:
    return statistics.fmean(task.accuracy(one.model, one.data) for one in crowd)


def _cells(courses: Sequence[Course], goals: Sequence[float]) -> list[str]:
    half = len(courses[0].after) // 2
    after, before = (statistics.fmean(statistics.fmean(getattr(one, name)[half:]) for one in courses) for name in ("after", "before"))
    steps = statistics.median(one.steps_to(goal) for one, goal in zip(courses, goals, strict=True))
    return [f"{after:.4f}", f"{before:.4f}", f"{steps:.0f}", f"{statistics.fmean(one.received for one in courses):.2f}"]


def main(what: Task, seeds: int, ways: Mapping[str, Settings]) -> None:
    print(describe(), flush=True)
    found = {EXACT: [exact(what, seed) for seed in range(seeds)]}
    for name, settings in ways.items():
        found[name] = [swarm(settings, what, seed) for seed in range(seeds)]
        print(f"{name}: " + " ".join(f"{one:.4f}" for one in found[name][0].after), flush=True)
    goals = [GOAL * course.after[-1] for course in found[EXACT]]
    header = ["", "after", "before", f"steps to {GOAL:.1%}", "MB received"]
    rows = [[name, *_cells(courses, goals)] for name, courses in found.items()]
    data = "different rows" if what.skewed else "rows of one distribution"
    show(f"{what.peers} peers with {data}, {what.rounds} rounds of {LOCAL_STEPS} steps, {seeds} seeds", header, rows)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--skewed", action="store_true", help="other shares of the labels, and shifted features")
    options.add_argument("--peers", type=int, default=4)
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--quick", action="store_true", help="few rows, three rounds, one way")
    chosen = options.parse_args()
    if chosen.quick:
        main(Task(2, 3, 4_000, 500, chosen.skewed), 1, {"the default": {}})
    else:
        main(Task(chosen.peers, chosen.rounds, 200_000, SKEWED_TEST_ROWS, chosen.skewed), chosen.seeds, WAYS)
