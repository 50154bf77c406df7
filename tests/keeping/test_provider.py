"""A provider: it gives rows, and neither trains nor takes any."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from learnae.records import AnnouncementKind
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.support.rows import SHARES, TAKES, digits, give, labels_in_pool, pool_of, with_rows
from tests.support.simulated import merges, start

pytestmark = pytest.mark.virtual_time

PROVIDES = {"peer": {"role": "provider"}, "data": {**SHARES["data"], "entry": "data:rows"}}


def provider(swarm: SimulatedSwarm, name: str = "provider") -> SimulatedPeer:
    """Its rows are in its home, as `learnae run` has put them there before the node starts."""
    peer = swarm.peer(name, {}, lambda model: 0, round_seconds=lambda: 1e6, settings=PROVIDES)
    give(peer, digits((7, 8)))
    return peer


async def test_rows_of_a_provider_come_to_those_who_take_some_and_it_says_nothing_else(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        taker, other, giver = with_rows(swarm, "b", digits((3, 4)), TAKES), with_rows(swarm, "c", digits((5, 6)), TAKES), provider(swarm)
        start(giver, taker, other)
        await trio.sleep(60)
        assert labels_in_pool(taker) == labels_in_pool(other) == {"7", "8"}
        assert {one.providers for one in pool_of(taker)} == {(giver.peer,)}
        assert set(taker.node.receiver.inbox.known[giver.peer].entries) == {AnnouncementKind.SLICE, AnnouncementKind.PRESENT}
        assert taker.node.receiver.inbox.known[giver.peer].entries[AnnouncementKind.PRESENT].announcement.body.role == "provider"
        assert merges(taker) > 0


async def test_a_provider_that_was_killed_gives_the_same_again(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        taker, giver = with_rows(swarm, "b", digits((3, 4)), TAKES), provider(swarm).start()
        await trio.sleep(20)
        giver.kill_node()
        await trio.sleep(5)
        giver.start_node()
        taker.start()
        await trio.sleep(60)
        assert labels_in_pool(taker) == {"7", "8"}
