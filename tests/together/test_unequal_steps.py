"""A peer with slow steps beside one with fast ones, both with real nodes, in a folder; a fifth of the times that people have.

Under virtual time tests/swarm says how soon it joins, and that it merges in each round: here that depends on the machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

import learnae
from learnae.observations import RoundReport
from tests.support.random_walk import RandomWalker

FAST, SLOW = 0.02, 0.4  # seconds of a step


def peer(seed: int, swarms: ExitStack) -> RandomWalker:
    overrides = ["join.wait_seconds=0.4", "train.round_seconds=2"]
    return RandomWalker(seed, lambda model: swarms.enter_context(learnae.join(model, "unequal", overrides=overrides)))


@contextmanager
def training(one: Callable[[], RandomWalker], step_seconds: float) -> Iterator[RandomWalker]:
    """A peer that joins and trains in a thread of its own."""
    begun, ended, peers = threading.Event(), threading.Event(), []

    def train() -> None:
        peers.append(one())
        begun.set()
        while not ended.wait(step_seconds):
            peers[0].step()

    thread = threading.Thread(target=train)
    thread.start()
    try:
        assert begun.wait(60)
        yield peers[0]
    finally:
        ended.set()
        thread.join()


def steps_until(done: Callable[[], object], step: Callable[[], None]) -> int:
    """How many slow steps were made until then."""
    for steps in range(200):
        if done():
            return steps
        time.sleep(SLOW)
        step()
    raise AssertionError("it did not happen within 200 steps")


@pytest.fixture
def swarms() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.slow
def test_a_peer_with_slow_steps_joins_and_merges(swarms: ExitStack) -> None:
    with training(lambda: peer(1, swarms), FAST) as fast:
        steps_until(lambda: fast.swarm.status.lineage, lambda: None)
        slow = peer(2, swarms)
        steps_until(lambda: slow.swarm.status.lineage, slow.step)
        assert slow.swarm.status.lineage == fast.swarm.status.lineage
        rounds = list[RoundReport]()

        def five_merges() -> bool:
            rounds.extend(slow.swarm.reports())
            return sum(report.merged for report in rounds) >= 5

        steps_until(five_merges, slow.step)
    assert all(report.merged <= 1 for report in rounds)
