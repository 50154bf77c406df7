"""Newcomers whose every read takes seconds, beside founders whose rounds take fractions of one."""

from __future__ import annotations

import pytest
import trio

from learnae.plugins.memory import MemoryStorage
from learnae.records import PeerId
from tests.support.simulated import merged_of, start, wandering

pytestmark = pytest.mark.virtual_time

ROUND_SECONDS, READ_SECONDS = 0.3, 2.0
UPDATE_BYTES = 316  # root, parts, meta and one block


class Reads:
    """Seconds that each read of this peer takes; of the others', hardly any."""

    def __init__(self) -> None:
        self.of: dict[PeerId, float] = {}


class FarFromSome(MemoryStorage):
    async def get(self, cids, deliver, *, hints=()):
        await trio.sleep(self.context.share(Reads).of.get(self.context.peer, 0.01))
        await super().get(cids, deliver, hints=hints)


FAR = {"strategies": {"storage": {"far": FarFromSome}}, "storage": {"use": "far"}}


def founder_of(world, **options):
    return world.peer("founder", train=wandering(1), round_seconds=lambda: ROUND_SECONDS, **options)


def newcomer(world, name="newcomer", read_seconds=READ_SECONDS, **options):
    peer = world.peer(name, train=wandering(len(name)), **options)
    world.swarm.shared(Reads).of[peer.peer] = read_seconds
    return peer


async def test_a_newcomer_that_reads_slowly_joins_a_lone_founder_and_both_merge(a_world):
    async with a_world(**FAR) as world:
        founder, late = founder_of(world), newcomer(world)
        founder.start()
        await trio.sleep(20)
        late.start()
        await trio.sleep(16)
        joined = late.trainer.adopted_outcomes[:1], late.lineage == founder.lineage != b""
        await trio.sleep(40)
        by_late, by_founder = len(merged_of(late, founder)), len(merged_of(founder, late))
    assert joined == (["joined"], True)
    assert by_late >= 3 and by_founder >= 3


async def test_several_newcomers_that_read_slowly_join_a_founder_that_was_just_started_again(a_world):
    async with a_world(**FAR) as world:
        founder = founder_of(world).start()
        await trio.sleep(20)
        late = [newcomer(world, name, seconds) for name, seconds in (("one", 1.0), ("another", 1.5), ("a third", READ_SECONDS))]
        start(*late)
        await trio.sleep(4)  # they read what was announced a moment ago
        founder.kill_node()
        await trio.sleep(0.5)
        founder.start_node()
        await trio.sleep(12)
        lineage, late = founder.lineage, [(peer.lineage, peer.trainer.adopted_outcomes[:1]) for peer in late]
    assert late == [(lineage, ["joined"])] * 3


async def test_a_founder_with_room_for_few_updates_is_joined_in_the_end(a_world):
    """It keeps twenty of the seventy that a slow reader may be at: most tries find the rest gone, and no second lineage comes of it."""

    async with a_world(**FAR) as world:
        founder, late = founder_of(world, settings={"peer": {"quota_bytes": 20 * UPDATE_BYTES}}), newcomer(world)
        founder.start()
        await trio.sleep(20)
        late.start()
        await trio.sleep(300)
        kept = len(founder.history.published())
        together, first = founder.lineage == late.lineage, late.trainer.adopted_outcomes[0]
    assert kept == 20
    assert together and first == "joined"


async def test_what_a_slow_reader_is_at_stays_while_fifty_newer_ones_come(a_world):
    async with a_world(**FAR) as world:
        founder, late = founder_of(world), newcomer(world, read_seconds=5.5, settings={"node": {"fetch_seconds": 25.0}})
        founder.settings = {"node": {"fetch_seconds": 10.0}}
        founder.start()
        await trio.sleep(20)
        late.start()
        await trio.sleep(2.5)
        before = founder.trainer.reports[-1].round
        await trio.sleep(15.5)
        during, newer = late.lineage, founder.trainer.reports[-1].round - before
        await trio.sleep(10)
        together, first = late.lineage == founder.lineage, late.trainer.adopted_outcomes[0]
    assert during == b"" and newer >= 50
    assert together and first == "joined"
