"""Simulated swarms: strategies of a test, how several peers start, and what a test reads of them and of their logs afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs
import numpy as np

import learnae
from learnae.observations import UpdateVerdict
from learnae.plugins.hooks import Plugin
from learnae.plugins.manager import PluginManager
from learnae.testing.swarm import MemoryTrainer, Model, SimulatedPeer, run_in_virtual_time

LINEAGE = b"lineage1"


def offering(strategies: Mapping[str, Mapping[str, Any]], watchers: Mapping[str, Callable[..., None]] | None = None) -> PluginManager:
    """A manager with one more plugin, "bad-luck", that offers these strategies by their kind; these functions watch."""

    def hook(name: str, function: Callable[..., Any]) -> Any:
        function.__name__ = name
        return learnae.hookimpl(function)

    hooks = {f"learnae_register_{kind}": (lambda classes=classes: classes) for kind, classes in strategies.items()}
    namespace = {name: staticmethod(hook(name, function)) for name, function in hooks.items()}
    manager = PluginManager.discover(only=())
    if namespace:  # one without hooks is no plugin
        manager.register(type("BadLuck", (), namespace)(), Plugin("bad-luck"))
    for name, function in (watchers or {}).items():
        manager.register(type("Watcher", (), {name: staticmethod(hook(name, function))})(), Plugin(f"watcher-{name}"))
    return manager


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
    return [(line["event"], line["what"]) for line in logs if line["event"].startswith("outage") and line["own"] == peer]


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


def run_within(
    opened: Callable[..., AbstractAsyncContextManager[Any]], main: Callable[[Any], Awaitable[Any]], *, seed: int = 0, **how: Any
) -> Any:
    """Run it under virtual time with what `opened` gives."""

    async def inside() -> Any:
        async with opened(seed=seed, **how) as world:
            return await main(world)

    return run_in_virtual_time(inside, seed=seed)
