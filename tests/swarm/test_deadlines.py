"""Deadlines learned from transfers: slow lines are waited for now and then, silence costs little, and bad times are forgotten."""

from __future__ import annotations

import math
import statistics

import pytest
import trio

from learnae.plugins.memory import MemoryStorage
from learnae.records import PeerId
from tests.support.simulated import LINEAGE, merged_of, wandering

pytestmark = pytest.mark.virtual_time

FETCH_SECONDS = 2.0


class Lines:
    """Seconds that each read of an update of this peer takes."""

    def __init__(self) -> None:
        self.usual = 0.02
        self.of: dict[PeerId, float] = {}


class FarStorage(MemoryStorage):
    """Reads take as long as the line to whoever has put what is read."""

    async def get(self, cids, deliver, *, hints=()):
        lines = self.context.share(Lines)
        owner = next((peer for (peer, _), named in self.store.roots.items() if cids[0] in named), None)
        await trio.sleep(lines.of.get(owner, lines.usual))
        await super().get(cids, deliver, hints=hints)


FAR = {
    "strategies": {"storage": {"far": FarStorage}},
    "storage": {"use": "far"},
    "node": {"fetch_seconds": FETCH_SECONDS},
    "train": {"patience": 0.0},
}


def four(world):
    return [world.peer(name, lineage=LINEAGE, train=wandering(seed)).start() for seed, name in enumerate("abcd")]


def merges_of(peer, of):
    return [verdict.round for verdict in merged_of(peer, of)]


async def test_a_peer_whose_line_is_twenty_times_slower_is_merged_now_and_then(a_world):
    async with a_world(**FAR) as world:
        a, b, _, slow = four(world)
        world.swarm.shared(Lines).of[slow.peer] = 0.4
        await trio.sleep(100)
        slow, usual, last = merges_of(a, slow), merges_of(a, b), a.trainer.reports[-1].round
    assert len(slow) >= 10
    assert last - max(slow) <= 5
    assert len(usual) > len(slow) / 2


async def test_one_that_falls_behind_when_all_deadlines_are_short_is_heard_again(a_world):
    async with a_world(**FAR) as world:
        a, _, _, slow = four(world)
        await trio.sleep(50)
        world.swarm.shared(Lines).of[slow.peer] = 0.4
        await trio.sleep(100)
        found = [round_ for round_ in merges_of(a, slow) if round_ > 60]
    assert len(found) >= 5


async def test_a_storage_that_never_answers_costs_a_round_no_more_than_the_first_deadline(a_world):
    async with a_world(**FAR) as world:
        a, *_ = four(world)
        await trio.sleep(20)
        world.swarm.shared(Lines).usual = math.inf
        before = len(a.trainer.reports)
        await trio.sleep(100)
        seconds = [report.seconds for report in a.trainer.reports[before + 1 :]]
    assert max(seconds) <= 1.05 * FETCH_SECONDS  # updates differ by some bytes
    assert len(seconds) >= 30


async def test_a_peer_that_vanishes_holds_the_rounds_of_others_up_for_little(a_world):
    async with a_world(**FAR) as world:
        a, _, _, gone = four(world)
        await trio.sleep(50)
        world.swarm.shared(Lines).of[gone.peer] = math.inf  # as from a storage that looks for what nobody has
        gone.kill()
        before = len(a.trainer.reports)
        await trio.sleep(50)
        seconds = [report.seconds for report in a.trainer.reports]
        usual, seconds = statistics.median(seconds), seconds[before:]
    assert sum(each for each in seconds if each > 2 * usual) < FETCH_SECONDS


async def test_deadlines_are_short_again_after_a_slow_time(a_world):
    async with a_world(**FAR) as world:
        a, *_ = four(world)
        lines = world.swarm.shared(Lines)
        await trio.sleep(30)
        before = a.node.rounds.pace.deadline_seconds(300)
        lines.usual = 0.5
        await trio.sleep(60)
        slow, merged = a.node.rounds.pace.deadline_seconds(300), len(a.trainer.reports)
        came = statistics.fmean(report.merged for report in a.trainer.reports[-10:])
        lines.usual = 0.02
        await trio.sleep(60)
        assert len(a.trainer.reports) > merged + 40
        after = a.node.rounds.pace.deadline_seconds(300)
    assert max(before, after) < 0.5
    assert slow >= 1.5
    assert came >= 1
