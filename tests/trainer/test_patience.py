"""How long a trainer waits for its merges; times worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.trainer.model_progress import LONGEST_SECONDS, WaitBudget


def test_a_tenth_of_a_round_is_there_to_wait_after_the_first() -> None:
    patience = WaitBudget(0.1)
    patience.earn(2.0)
    assert patience.seconds == pytest.approx(0.2)


def test_nothing_is_waited_for_that_took_longer_than_what_is_saved() -> None:
    patience = WaitBudget(0.1, latency=0.3)
    patience.earn(2.0)
    assert patience.seconds == 0.0


def test_a_merge_that_takes_two_shares_is_waited_for_in_every_second_round() -> None:
    patience, waited = WaitBudget(0.1), []
    for _ in range(8):
        patience.latency = 0.2
        patience.earn(1.0)
        seconds = min(patience.seconds, patience.latency)
        waited.append(seconds > 0)
        patience.spend(seconds)
    assert waited == [False, True] * 4


def test_what_was_not_spent_is_saved_up_to_half_a_second() -> None:
    patience = WaitBudget(0.1)
    for _ in range(100):
        patience.earn(1.0)
    assert patience.seconds == LONGEST_SECONDS == 0.5


def test_a_share_of_nothing_never_waits() -> None:
    patience = WaitBudget(0.0)
    patience.earn(1e9)
    assert patience.seconds == 0.0


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 5.0)), max_size=50), st.floats(0.0, 1.0))
def test_no_more_is_waited_than_the_share_of_all_rounds(rounds: list[tuple[float, float]], share: float) -> None:
    patience, waited, lasted = WaitBudget(share), 0.0, 0.0
    for seconds, merge in rounds:
        patience.earn(seconds)
        lasted += seconds
        wait = min(patience.seconds, merge)
        patience.spend(wait)
        patience.latency = merge
        waited += wait
    assert waited <= share * lasted + 1e-9
