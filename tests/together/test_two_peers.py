"""Two peers with real nodes, in a folder, by the three lines: they find each other, approach each other, and survive kills."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

import learnae
from tests.support.random_walk import RandomWalker, train_until


def peer(seed: int, swarms: ExitStack) -> RandomWalker:
    overrides = ["train.local_steps=5", "join.wait_seconds=0.5"]
    return RandomWalker(seed, lambda model: swarms.enter_context(learnae.join(model, "pair", overrides=overrides)))


def distance(one: RandomWalker, other: RandomWalker) -> float:
    return float((one.model.weight - other.model.weight).detach().norm())


def nodes() -> set[int]:
    return {child.pid for child in psutil.Process().children() if "learnae.node" in child.cmdline()}


@pytest.fixture
def swarms() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_two_peers_with_different_weights_end_in_one_lineage_and_approach_each_other(swarms: ExitStack) -> None:
    one, other = peer(1, swarms), peer(2, swarms)
    apart = distance(one, other)
    train_until(lambda: one.swarm.status.merged >= 5 and other.swarm.status.merged >= 5, one, other)
    assert one.swarm.status.lineage == other.swarm.status.lineage != b""
    assert distance(one, other) < apart / 10


def test_a_node_that_was_killed_comes_back_and_merging_goes_on(swarms: ExitStack) -> None:
    before = nodes()
    one = peer(1, swarms)
    (victim,) = nodes() - before
    other = peer(2, swarms)
    train_until(lambda: one.swarm.status.merged >= 2 and other.swarm.status.merged >= 2, one, other)
    os.kill(victim, signal.SIGKILL)
    merged, lineage = one.swarm.status.merged, one.swarm.status.lineage
    train_until(lambda: one.swarm.status.node_starts >= 2 and one.swarm.status.merged >= merged + 3, one, other)
    assert one.swarm.status.lineage == lineage == other.swarm.status.lineage


def test_whoever_comes_last_adopts_the_model_of_one_that_has_left(swarms: ExitStack) -> None:
    with ExitStack() as first:
        founder = peer(1, first)
        train_until(lambda: founder.swarm.status.rounds >= 3, founder)
        lineage = founder.swarm.status.lineage
    late = peer(2, swarms)
    train_until(lambda: bool(late.swarm.status.lineage), late)
    assert late.swarm.status.lineage == lineage
    assert distance(founder, late) < 1.0
