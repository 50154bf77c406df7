"""Peers of a simulated swarm: how several start, and what a test reads of them and of their logs afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import numpy as np

from learnae.records import UpdateVerdict
from learnae.testing.swarm import MemoryTrainer, Model, SimulatedPeer

LINEAGE = b"lineage1"


def start(*peers: SimulatedPeer) -> None:
    for peer in peers:
        peer.start()


def value(peer: SimulatedPeer) -> float:
    """The first number of its model."""
    return float(peer.trainer.model["w"].flat[0])


def outcomes(peer: SimulatedPeer) -> list[str]:
    return [report.outcome for report in peer.trainer.reports]


def merges(peer: SimulatedPeer) -> int:
    return sum(report.merged for report in peer.trainer.reports)


def verdicts(peer: SimulatedPeer) -> list[UpdateVerdict]:
    return [verdict for report in peer.trainer.reports for verdict in report.verdicts]


def merged_of(peer: SimulatedPeer, other: SimulatedPeer) -> list[UpdateVerdict]:
    """The updates of the other that it has merged."""
    return [verdict for verdict in verdicts(peer) if verdict.merged and verdict.peer == other.peer]


def events(logs: Iterable[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [line for line in logs if line["event"] == name]


def outages(logs: Iterable[Mapping[str, Any]], peer: str = "a") -> list[tuple[str, str]]:
    """What it said that it has to do without, and has again."""
    return [(line["event"], line["what"]) for line in logs if line["event"].startswith("outage") and line["peer"] == peer]


def wandering(seed: int) -> Callable[[Model], int]:
    """Training that makes each model another one, so that no two updates share a block."""
    chance = np.random.default_rng(seed)

    def train(model: Model) -> int:
        model["w"] += chance.normal(size=4).astype(np.float32)
        return 1

    return train


def in_another_run(old: MemoryTrainer, **changed: Any) -> MemoryTrainer:
    """The trainer of a new process, with the model and the progress of the old one."""
    kept = {name: getattr(old, name) for name in ("model", "train", "round_seconds", "lag", "progress")}
    return MemoryTrainer(**{**kept, "run": f"{old.run}+", **changed})


def aged(peer: SimulatedPeer, age: int) -> SimulatedPeer:
    """It says that its model is that many steps old."""
    peer.trainer.progress = attrs.evolve(peer.trainer.progress, age=age)
    return peer
