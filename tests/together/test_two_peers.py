"""Two peers with real nodes, in a folder, by the three lines: they find each other, approach each other, and survive kills."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psutil
import pytest
import torch

import learnae
from learnae.trainer.swarm import Swarm

LIMIT_SECONDS = 60.0


class Peer:
    """A model that wanders a little with each step, and its swarm."""

    def __init__(self, seed: int, swarms: ExitStack) -> None:
        self.model = torch.nn.Linear(20, 5)
        self.chance = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.normal_(generator=self.chance)
        overrides = ["train.local_steps=5", "join.wait_seconds=0.5"]
        self.swarm: Swarm = swarms.enter_context(learnae.join(self.model, "pair", overrides=overrides))

    def step(self) -> None:
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=self.chance), alpha=0.001)
        self.swarm.step(samples=1)


def train_until(done: Callable[[], bool], *peers: Peer) -> None:
    """Keep training, some hundred steps a second, until something has happened."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not done():
        assert time.monotonic() < deadline, [peer.swarm.status for peer in peers]
        for peer in peers:
            peer.step()
        time.sleep(0.002)  # leaves the nodes a core; nothing is waited for


def distance(one: Peer, other: Peer) -> float:
    return float((one.model.weight - other.model.weight).detach().norm())


def nodes() -> set[int]:
    return {child.pid for child in psutil.Process().children() if "learnae.node" in child.cmdline()}


@pytest.fixture
def swarms() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_two_peers_with_different_weights_end_in_one_lineage_and_approach_each_other(swarms: ExitStack) -> None:
    one, other = Peer(1, swarms), Peer(2, swarms)
    apart = distance(one, other)
    train_until(lambda: one.swarm.status.merged >= 5 and other.swarm.status.merged >= 5, one, other)
    assert one.swarm.status.lineage == other.swarm.status.lineage != b""
    assert distance(one, other) < apart / 10


def test_a_node_that_was_killed_comes_back_and_merging_goes_on(swarms: ExitStack) -> None:
    before = nodes()
    one = Peer(1, swarms)
    (victim,) = nodes() - before
    other = Peer(2, swarms)
    train_until(lambda: one.swarm.status.merged >= 2 and other.swarm.status.merged >= 2, one, other)
    os.kill(victim, signal.SIGKILL)
    merged, lineage = one.swarm.status.merged, one.swarm.status.lineage
    train_until(lambda: one.swarm.status.node_starts >= 2 and one.swarm.status.merged >= merged + 3, one, other)
    assert one.swarm.status.lineage == lineage == other.swarm.status.lineage


def test_whoever_comes_last_adopts_the_model_of_one_that_has_left(swarms: ExitStack) -> None:
    with ExitStack() as first:
        founder = Peer(1, first)
        train_until(lambda: founder.swarm.status.rounds >= 3, founder)
        lineage = founder.swarm.status.lineage
    late = Peer(2, swarms)
    train_until(lambda: bool(late.swarm.status.lineage), late)
    assert late.swarm.status.lineage == lineage
    assert distance(founder, late) < 1.0
