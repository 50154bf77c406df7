"""Within a round all storages, and all announcers, are served beside each other: one that is slow costs its own time, once."""

from __future__ import annotations

import pytest
import trio
from structlog.testing import capture_logs

from learnae.errors import UnavailableError
from learnae.testing.swarm import run_in_virtual_time


class Slow:
    """Takes so many seconds for a call, or fails after them."""

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        self.seconds, self.error = seconds, error

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc_info):
        return None

    async def work(self) -> None:
        await trio.sleep(self.seconds)
        if self.error is not None:
            raise self.error


def served(bench, *services: Slow, seconds: float = 10.0):
    """How long all took, which have worked, and what was told in which order."""

    async def main():
        async with trio.open_nursery() as nursery:
            made = await bench(nursery, *services)
            began = trio.current_time()
            worked = await made.services.at_once(made.named, "working", seconds, lambda named: named.strategy.work())
            took = trio.current_time() - began
            left_alone = [named.label for named in made.named if not made.services.ready(named)]
            made.services.close()
        return took, [named.label for named in worked], left_alone

    with capture_logs() as logs:
        result = run_in_virtual_time(main)
    return *result, [line["what"] for line in logs]


def test_they_take_as_long_as_the_slowest(bench):
    took, worked, _, _ = served(bench, Slow(3), Slow(5), Slow(4))
    assert took == 5
    assert worked == ["storage s0", "storage s1", "storage s2"]


def test_those_that_hang_cost_their_limit_once_and_are_left_alone_for_a_while(bench):
    took, worked, left_alone, _ = served(bench, Slow(float("inf")), Slow(1), Slow(float("inf")))
    assert took == 10
    assert worked == ["storage s1"]
    assert left_alone == ["storage s0", "storage s2"]


@pytest.mark.parametrize("times", [(1, 2, 3), (3, 2, 1), (2, 2, 2)])
def test_what_fails_is_told_in_the_order_of_the_file_whatever_fails_first(bench, times):
    _, worked, _, told = served(
        bench, *(Slow(seconds, error) for seconds, error in zip(times, (UnavailableError("x"), None, OSError()), strict=True))
    )
    assert worked == ["storage s1"]
    assert told == ["working by storage s0", "working by storage s2"]


def test_nobody_to_serve_is_nothing_done(bench):
    assert served(bench)[:2] == (0, [])
