"""Peers whose rounds differ by a factor of thirty: each counts the other's silence, and the age of what it says, in the other's pace."""

from __future__ import annotations

import numpy as np
import pytest
import trio

LINEAGE = b"lineage1"
FAST, SLOW = 0.3, 10.0


def wandering(seed):
    chance = np.random.default_rng(seed)

    def train(model):
        model["w"] += chance.normal(size=4).astype(np.float32)
        return 1

    return train


def two(world, slow=SLOW, fast=FAST):
    a = world.peer("fast", lineage=LINEAGE, train=wandering(1), round_seconds=lambda: fast)
    b = world.peer("slow", lineage=LINEAGE, train=wandering(2), round_seconds=lambda: slow)
    a.start()
    b.start()
    return a, b


def noting(changes):
    return {"learnae_peer_changed": lambda peer, state: changes.append((peer, state))}


def merges_of(peer, of):
    return [v.number for report in peer.trainer.reports for v in report.verdicts if v.merged and v.peer == of.peer]


@pytest.mark.slow
def test_a_slow_peer_is_never_silent_to_a_fast_one_and_each_of_its_updates_is_merged_once(run_world):
    changes = []

    async def main(world):
        fast, slow = two(world)
        await trio.sleep(300)
        return fast, slow, max(number for number in merges_of(fast, slow))

    fast, slow, last = run_world(main, watchers=noting(changes))
    assert [state for _, state in changes] == ["new", "new"]
    merged = merges_of(fast, slow)
    assert len(merged) == len(set(merged)) >= last - 1 >= 25
    rounds = [report for report in slow.trainer.reports[2:] if report.published]
    assert all(report.merged == 1 for report in rounds)


def test_a_peer_that_is_slower_than_any_guess_is_missed_once_at_most(run_world):
    changes = []

    async def main(world):
        two(world, slow=60.0, fast=2.0)
        await trio.sleep(1000)

    run_world(main, watchers=noting(changes))
    assert [state for _, state in changes].count("silent") <= 1


def test_a_slow_peer_that_vanishes_becomes_silent_in_the_end_and_stays_so(run_world):
    changes = []

    async def main(world):
        _, slow = two(world)
        await trio.sleep(100)
        slow.kill()
        await trio.sleep(60)
        before = list(changes)
        await trio.sleep(60)
        return before, slow.peer

    before, slow = run_world(main, watchers=noting(changes))
    assert (slow, "silent") not in before
    assert [state for peer, state in changes if peer == slow] == ["new", "silent"]
