from __future__ import annotations

from learnae.waiting import Backoff


def test_waits_double_up_to_a_limit() -> None:
    backoff = Backoff()
    assert [backoff.after(1.0) for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_minute_of_health_forgives() -> None:
    backoff = Backoff()
    assert [backoff.after(lived) for lived in (0, 0, 59, 60, 0)] == [0.5, 1, 2, 0.5, 1]
