"""What must be true across keys, and what is refused whatever it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from learnae.config.tables import Config

Problems = Callable[..., list[str]]
Read = Callable[..., Config]


def test_the_key_of_a_swarm_does_not_stand_in_the_file(problems: Problems) -> None:
    (problem,) = problems('[swarm]\nkey = "swordfish"')
    assert problem.startswith("swarm.key: a key never stands in this file (name the variable that holds it: key_env = ")
    assert "swordfish" not in problem


@pytest.mark.parametrize(("wait", "settle"), [(0, 10.0), (2, 10.0), (3, 10.0), (4, 12.0), (10.5, 31.5)])
def test_without_settle_seconds_a_peer_settles_after_three_waits_but_not_before_ten_seconds(read: Read, wait: float, settle: float) -> None:
    assert read(f"[join]\nwait_seconds = {wait}").join.settle_seconds == settle


def test_settle_seconds_below_three_waits_are_a_problem_if_the_user_gave_them(problems: Problems) -> None:
    assert problems("[join]\nwait_seconds = 4\nsettle_seconds = 11") == [
        "join.settle_seconds: must be at least three times join.wait_seconds, 12.0, not 11.0"
    ]


def test_settle_seconds_of_three_waits_are_kept(read: Read) -> None:
    assert read("[join]\nwait_seconds = 4\nsettle_seconds = 12").join.settle_seconds == 12.0
