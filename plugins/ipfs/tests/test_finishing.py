"""A call that somebody no longer waits for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from learnae import UnavailableError
from learnae_ipfs.finishing import finished


def run(test: Callable[[], Awaitable[None]]) -> None:
    trio.run(test, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize(("takes", "done"), [(1.5, ["begun", "finished"]), (2.5, ["begun"])])
def test_a_call_that_is_cancelled_has_some_time_to_finish_and_no_more(takes: float, done: list[str]) -> None:
    seen: list[str] = []

    async def call() -> None:
        seen.append("begun")
        await trio.sleep(takes)
        seen.append("finished")

    async def test() -> None:
        with trio.move_on_after(0.5) as scope:
            await finished(call, 1.5)
            seen.append("returned")
        assert scope.cancelled_caught
        assert trio.current_time() == pytest.approx(min(takes, 2.0), abs=0.01)

    run(test)
    assert seen == done


def test_a_call_that_nobody_cancels_has_all_its_time_and_fails_in_no_group() -> None:
    async def call() -> None:
        await trio.sleep(100.0)
        raise UnavailableError("gone")

    async def test() -> None:
        with pytest.raises(UnavailableError, match="gone"):
            await finished(call, 1.0)

    run(test)
