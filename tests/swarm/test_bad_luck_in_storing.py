"""Storages that are full, gone, slow or silent: training goes on, what happens is told once, and nothing is left lying about."""

from __future__ import annotations

import itertools

import pytest
import trio
from structlog.testing import capture_logs

from learnae.identity.envelopes import decode_envelope
from learnae.identity.swarms import swarm_id
from learnae.node.history import RESERVED
from learnae.plugins.memory import MemoryStorage
from learnae.records import AnnouncementKind
from learnae.testing.faults import Fault, always
from tests.support.simulated import LINEAGE, outages, outcomes, value

pytestmark = pytest.mark.virtual_time


def counting(model) -> int:
    model["w"] += 1.0
    return 1


def published(peer) -> list[bool]:
    return [report.published is not None for report in peer.trainer.reports]


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.HALFWAY])
async def test_a_storage_that_is_full_stops_publishing_and_not_training_and_both_ends_are_told_once(a_world, fault):
    with capture_logs() as logs:
        async with a_world(join={"wait_seconds": 0.0}) as world:
            a = world.peer("a", lineage=LINEAGE).start()
            await trio.sleep(5.5)
            world.weather.storage[a.peer] = always(fault, "put")
            await trio.sleep(10)
            del world.weather.storage[a.peer]
            await trio.sleep(5)
    assert published(a) == [True] * 5 + [False] * 10 + [True] * 5
    assert a.trainer.progress.steps == 20
    assert outages(logs) == [("outage", "putting blocks by storage stormy"), ("outage.over", "putting blocks by storage stormy")]


async def test_while_it_cannot_publish_a_peer_still_merges_what_others_publish(a_world):
    async with a_world() as world:
        a, b = world.two()
        world.weather.storage[a.peer] = always(Fault.BEFORE, "put")
        await trio.sleep(10)
        ours, theirs = value(a), value(b)
    assert ours > 4.0
    assert theirs == 8.0


async def test_a_storage_that_hangs_is_cut_off_and_left_alone_for_a_while(a_world):
    with capture_logs() as logs:
        async with a_world() as world:
            a = world.peer("a", lineage=LINEAGE).start()
            world.weather.storage[a.peer] = always(Fault.SILENCE, "put")
            await trio.sleep(300)
    assert len(a.trainer.reports) > 60
    assert outages(logs) == [("outage", "putting blocks by storage stormy")]


async def test_one_of_two_storages_is_enough(a_world):
    with capture_logs() as logs:
        async with a_world(storage=[{"use": "stormy"}, {"use": "second"}]) as world:
            a, b = world.two()
            for peer in (a, b):
                world.weather.storage[peer.peer] = always(Fault.BEFORE, "put")
            await trio.sleep(10)
    assert "merged" in outcomes(a)
    assert "merged" in outcomes(b)
    assert outages(logs) == [("outage", "putting blocks by storage stormy")]


async def test_a_storage_that_is_read_only_for_us_gets_nothing(a_world):
    async with a_world(storage=[{"use": "stormy", "write": False}, {"use": "second"}]) as world:
        a = world.peer("a", lineage=LINEAGE).start()
        await trio.sleep(5)
        roots, seen = len(world.store.roots), published(a)
    assert roots == 0
    assert any(seen)


async def test_after_fifty_rounds_the_storage_holds_what_is_kept_and_no_more(a_world):
    async with a_world(node={"fetch_seconds": 1.0}) as world:
        a = world.peer("a", lineage=LINEAGE, train=counting).start()
        await trio.sleep(53)
        roots, known = list(world.store.roots), a.history.published()
    assert len(roots) == 3
    assert {root for _, root in roots} == {item.root for item in known}


async def test_what_could_not_be_dropped_is_dropped_later(a_world, monkeypatch):
    monkeypatch.setattr("learnae.node.retention.AGAIN_SECONDS", 30.0)

    async with a_world(node={"fetch_seconds": 1.0}) as world:
        a = world.peer("a", lineage=LINEAGE, train=counting).start()
        world.weather.storage[a.peer] = always(Fault.BEFORE, "drop")
        await trio.sleep(20)
        before = len(world.store.roots)
        del world.weather.storage[a.peer]
        await trio.sleep(20)
        after = len(world.store.roots)
    assert before > 10
    assert after == 3


async def test_a_crash_between_put_and_announcement_leaves_an_orphan_that_the_next_start_drops(a_world):
    class DiesAfterPut(MemoryStorage):
        async def put(self, root, blocks):
            await super().put(root, blocks)
            await trio.sleep_forever()

    async with a_world(strategies={"storage": {"dies": DiesAfterPut}}, join={"wait_seconds": 0.0}) as world:
        a = world.peer("a", lineage=LINEAGE, settings={"storage": {"use": "dies"}}).start()
        await trio.sleep(2.5)
        a.kill_node()
        orphans = list(world.store.roots)
        heard = [key for key in world.swarm.medium.newest if key[1] == f"{a.peer}/{AnnouncementKind.UPDATE.value}".encode()]
        a.settings = {}
        a.start_node()
        await trio.sleep(0.2)
        orphans, left, number = len(orphans), len(world.store.roots), a.history.own_numbers()[AnnouncementKind.UPDATE]
    assert (orphans, heard, left, number) == (1, [], 0, RESERVED)


async def test_what_is_being_put_is_not_taken_for_an_orphan(a_world, monkeypatch):
    monkeypatch.setattr("learnae.node.retention.AGAIN_SECONDS", 0.1)

    class Slow(MemoryStorage):
        async def put(self, root, blocks):
            await super().put(root, blocks)
            await trio.sleep(0.5)

    async with a_world(strategies={"storage": {"slow": Slow}}, storage={"use": "slow"}) as world:
        a = world.peer("a", lineage=LINEAGE).start()
        await trio.sleep(5.3)
        held, known, putting = (
            {root for _, root in world.store.roots},
            {item.root for item in a.history.published()},
            a.node.publisher.putting,
        )
    assert putting
    assert held == known | set(putting)


async def test_a_number_is_never_used_again_whenever_the_node_dies(a_world):
    async with a_world(join={"wait_seconds": 0.0}) as world:
        a = world.peer("a", lineage=LINEAGE, train=counting).start()
        for pause in (1.0, 1.3, 2.01, 0.4, 3.0):
            await trio.sleep(pause)
            a.kill_node()
            a.start_node()
        await trio.sleep(5)
        seen = [(replaces, decode_envelope(message, swarm_id("default")).announcement.number) for replaces, message in world.weather.sent]
    assert len(seen) > 10
    assert len(set(seen)) == len(seen)


async def test_a_peer_that_cannot_be_fetched_is_tried_less_and_less_often_until_it_can(a_world):
    async with a_world() as world:
        a, b = world.two()
        world.weather.storage[a.peer] = always(Fault.BEFORE, "get")
        await trio.sleep(30.5)
        tried = [report.round for report in a.trainer.reports if report.chosen]
        failures = a.node.receiver.peers.get(b.peer).failures
        del world.weather.storage[a.peer]
        await trio.sleep(40)
        afterwards, merged = a.node.receiver.peers.get(b.peer).failures, [report.merged for report in a.trainer.reports[-5:]]
    waits = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert waits == [2, 4, 8]  # the next would be 16 rounds later
    assert (failures, afterwards) == (4, 0)
    assert merged == [1] * 5
