"""Bytes per second and per hour, and turns that are fair by askers."""

from __future__ import annotations

import pytest
import trio

from learnae.testing.swarm import run_in_virtual_time
from learnae_libp2p.streams.budgets import ByteBudget, FairBudget


def spend_for(seconds: float, per_second: int | None, per_hour: int | None, piece: int) -> list[tuple[float, int]]:
    """When how much went, where somebody always has more."""

    async def main() -> list[tuple[float, int]]:
        budget, spent = ByteBudget(per_second, per_hour, trio.current_time), list[tuple[float, int]]()
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            if (wait := budget.wait(piece)) > 0:
                await trio.sleep(wait)
            else:
                budget.spend(piece)
                spent.append((trio.current_time(), piece))
        return spent

    return run_in_virtual_time(main)


def most_in(spent: list[tuple[float, int]], seconds: float) -> int:
    """Most bytes in any window of that length."""
    return max(sum(count for at, count in spent if begin <= at < begin + seconds) for begin, _ in spent)


def test_so_many_bytes_go_in_a_second_and_no_more() -> None:
    spent = spend_for(60.0, 10_000, None, 1000)
    assert 590_000 <= sum(count for _, count in spent) <= 620_000
    assert most_in(spent, 10.0) <= 111_000


def test_no_hour_has_more_than_its_bytes_wherever_it_begins() -> None:
    spent = spend_for(5 * 3600.0, None, 1_000_000, 10_000)
    assert most_in(spent, 3600.0) <= 1_000_000
    assert sum(count for _, count in spent) >= 4_500_000


def test_without_bounds_nobody_waits() -> None:
    assert not ByteBudget(None, None, lambda: 0.0).bounded
    assert ByteBudget(None, None, lambda: 0.0).wait(10**12) == 0.0


@pytest.mark.parametrize(("streams", "pieces"), [({"a": 1, "b": 1}, {"a": 1000, "b": 1000}), ({"a": 1, "b": 7}, {"a": 1000, "b": 3000})])
def test_turns_are_fair_by_bytes_and_askers(streams: dict[str, int], pieces: dict[str, int]) -> None:
    async def main() -> dict[str, int]:
        budget, got = FairBudget(ByteBudget(10_000, None, trio.current_time)), dict.fromkeys(streams, 0)

        async def ask(name: str) -> None:
            while True:
                await budget.take(name, pieces[name])
                got[name] += pieces[name]

        with trio.move_on_after(100.0):
            async with trio.open_nursery() as nursery:
                for name, count in streams.items():
                    for _ in range(count):
                        nursery.start_soon(ask, name)
        return got

    got = run_in_virtual_time(main)
    assert 0.95 < got["a"] / got["b"] < 1.05


def test_who_was_away_has_saved_nothing_up_and_lost_nothing() -> None:
    async def main() -> tuple[int, int]:
        budget, got = FairBudget(ByteBudget(10_000, None, trio.current_time)), {"early": 0, "late": 0}

        async def ask(name: str, after: float) -> None:
            await trio.sleep(after)
            while True:
                await budget.take(name, 1000)
                if trio.current_time() > 50.0:
                    got[name] += 1000

        with trio.move_on_after(100.0):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, "early", 0.0)
                nursery.start_soon(ask, "late", 50.0)
        return got["early"], got["late"]

    early, late = run_in_virtual_time(main)
    assert 0.9 < late / early < 1.1


def test_a_turn_that_is_cancelled_is_nobodys() -> None:
    async def main() -> float:
        budget = FairBudget(ByteBudget(1000, None, trio.current_time))
        await budget.take("a", 5000)
        with trio.move_on_after(1.0):
            await budget.take("b", 1000)
        await budget.take("c", 1000)
        return trio.current_time()

    assert run_in_virtual_time(main) < 5.0
