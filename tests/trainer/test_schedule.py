"""When the next snapshot is due, by steps and by time."""

from __future__ import annotations

import pytest

from learnae.trainer.model_progress import JOINING_SECONDS, SnapshotSchedule
from tests.support.clocks import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def schedule(clock: Clock) -> SnapshotSchedule:
    return SnapshotSchedule(local_steps=20, round_seconds=10.0, clock=clock)


def test_the_first_snapshot_is_due_at_once(schedule: SnapshotSchedule) -> None:
    schedule.at_once(7)
    assert schedule.step <= 7


def test_a_fast_trainer_hands_over_after_its_local_steps(schedule: SnapshotSchedule, clock: Clock) -> None:
    schedule.taken(100, joined=True)
    clock.now = 9.9
    assert schedule.step == 120
    assert schedule.seconds_left == pytest.approx(0.1)


def test_a_slow_trainer_hands_over_with_the_first_step_after_the_time_of_a_round(schedule: SnapshotSchedule, clock: Clock) -> None:
    schedule.taken(1, joined=True)
    clock.now = 10.0
    assert schedule.step <= 2
    assert schedule.seconds_left == 0


def test_without_a_lineage_there_is_a_look_with_the_first_step_after_a_second_or_sooner(schedule: SnapshotSchedule, clock: Clock) -> None:
    schedule.taken(1, joined=False)
    assert schedule.step == 21
    clock.now = JOINING_SECONDS
    assert schedule.step <= 2
    hasty = SnapshotSchedule(local_steps=20, round_seconds=0.2, clock=clock)
    hasty.taken(1, joined=False)
    assert hasty.seconds_left == pytest.approx(0.2)
