"""A peer with slow steps beside one with fast ones, both with real nodes, in a folder; a fifth of the times that people have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

import learnae
from learnae.records import RoundReport
from learnae.testing.wanderer import Wanderer

FAST, SLOW = 0.02, 0.4  # seconds of a step


def peer(seed: int, swarms: ExitStack) -> Wanderer:
    overrides = ["join.wait_seconds=0.4", "train.round_seconds=2"]
    return Wanderer(seed, lambda model: swarms.enter_context(learnae.join(model, "unequal", overrides=overrides)))


@contextmanager
def training(one: Callable[[], Wanderer], step_seconds: float) -> Iterator[Wanderer]:
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
def test_a_peer_with_slow_steps_joins_within_a_few_of_them_and_merges_in_each_of_its_rounds(swarms: ExitStack) -> None:
    with training(lambda: peer(1, swarms), FAST) as fast:
        steps_until(lambda: fast.swarm.status.lineage, lambda: None)
        slow = peer(2, swarms)
        assert steps_until(lambda: slow.swarm.status.lineage, slow.step) <= 5
        rounds = list[RoundReport]()

        def five_rounds() -> bool:
            rounds.extend(report for report in slow.swarm.reports() if report.outcome != "joined")
            return len(rounds) >= 5

        assert steps_until(five_rounds, slow.step) < 5 * 20
    assert [report.merged for report in rounds] == [1] * len(rounds)
