"""Peers whose rounds differ by a factor of thirty: each counts the other's silence, and the age of what it says, in the other's pace."""

from __future__ import annotations

import pytest
import trio

from tests.support.simulated import LINEAGE, merged_of, wandering

pytestmark = pytest.mark.virtual_time

FAST, SLOW = 0.3, 10.0


def two(world, slow=SLOW, fast=FAST):
    paces = {"fast": fast, "slow": slow}
    return [
        world.peer(name, lineage=LINEAGE, train=wandering(seed), round_seconds=lambda seconds=seconds: seconds).start()
        for seed, (name, seconds) in enumerate(paces.items(), 1)
    ]


def numbers(peer, of):
    return [verdict.number for verdict in merged_of(peer, of)]


def noting(changes):
    return {"learnae_peer_changed": lambda peer, state: changes.append((peer, state))}


@pytest.mark.slow
async def test_a_slow_peer_is_never_silent_to_a_fast_one_and_each_of_its_updates_is_merged_once(a_world):
    changes = []

    async with a_world(watchers=noting(changes)) as world:
        fast, slow = two(world)
        await trio.sleep(300)
        last = max(numbers(fast, slow))
    assert [state for _, state in changes] == ["new", "new"]
    merged = numbers(fast, slow)
    assert len(merged) == len(set(merged)) >= last - 1 >= 25
    rounds = [report for report in slow.trainer.reports[2:] if report.published]
    assert all(report.merged == 1 for report in rounds)


async def test_a_peer_that_is_slower_than_any_guess_is_missed_once_at_most(a_world):
    changes = []

    async with a_world(watchers=noting(changes)) as world:
        two(world, slow=60.0, fast=2.0)
        await trio.sleep(1000)
    assert [state for _, state in changes].count("silent") <= 1


async def test_a_slow_peer_that_vanishes_becomes_silent_in_the_end_and_stays_so(a_world):
    changes = []

    async with a_world(watchers=noting(changes)) as world:
        _, slow = two(world)
        await trio.sleep(100)
        slow.kill()
        await trio.sleep(60)
        before = list(changes)
        await trio.sleep(60)
        slow = slow.peer
    assert (slow, "silent") not in before
    assert [state for peer, state in changes if peer == slow] == ["new", "silent"]
