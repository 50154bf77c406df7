"""The default preset against members who publish nonsense, through real nodes under virtual time."""

from __future__ import annotations

import statistics

import pytest

from learnae.config.presets import DEFAULT
from tests.support.digits_swarm import D20

SETTINGS = {"preset": DEFAULT}


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["stale models", "mean minus 1.5 sigma"])
def test_a_fifth_of_hostile_members_costs_the_honest_little(attack: str) -> None:
    accuracies = D20(split="shards", rate=0.3, attack=attack, hostile=4, settings=SETTINGS).accuracies()
    assert len(accuracies) == 16 and statistics.mean(accuracies) >= 0.80


@pytest.mark.parametrize("hostile", [1, 4])
def test_models_a_thousand_times_as_large_stop_nobody_from_learning(hostile: int) -> None:
    """Alone a peer with two classes of ten gets no further than one in five."""
    case = D20(split="shards", rate=0.3, peers=8, rounds=40, attack="times 1,000", hostile=hostile, settings=SETTINGS)
    assert statistics.mean(case.accuracies()) >= 0.5
