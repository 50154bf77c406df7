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


def counting(model) -> int:
    model["w"] += 1.0
    return 1


def published(peer) -> list[bool]:
    return [report.published is not None for report in peer.trainer.reports]


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.HALFWAY])
def test_a_storage_that_is_full_stops_publishing_and_not_training_and_both_ends_are_told_once(run_world, fault):
    async def main(world):
        a = world.peer("a", lineage=LINEAGE).start()
        await trio.sleep(5.5)
        world.weather.storage[a.peer] = always(fault, "put")
        await trio.sleep(10)
        del world.weather.storage[a.peer]
        await trio.sleep(5)
        return a

    with capture_logs() as logs:
        a = run_world(main, join={"wait_seconds": 0.0})
    assert published(a) == [True] * 5 + [False] * 10 + [True] * 5
    assert a.trainer.progress.steps == 20
    assert outages(logs) == [("outage", "putting blocks by storage stormy"), ("outage.over", "putting blocks by storage stormy")]


def test_while_it_cannot_publish_a_peer_still_merges_what_others_publish(run_world):
    async def main(world):
        a, b = world.two()
        world.weather.storage[a.peer] = always(Fault.BEFORE, "put")
        await trio.sleep(10)
        return value(a), value(b)

    ours, theirs = run_world(main)
    assert ours > 4.0
    assert theirs == 8.0


def test_a_storage_that_hangs_is_cut_off_and_left_alone_for_a_while(run_world):
    async def main(world):
        a = world.peer("a", lineage=LINEAGE).start()
        world.weather.storage[a.peer] = always(Fault.SILENCE, "put")
        await trio.sleep(300)
        return a

    with capture_logs() as logs:
        a = run_world(main)
    assert len(a.trainer.reports) > 60
    assert outages(logs) == [("outage", "putting blocks by storage stormy")]


def test_one_of_two_storages_is_enough(run_world):
    async def main(world):
        a, b = world.two()
        for peer in (a, b):
            world.weather.storage[peer.peer] = always(Fault.BEFORE, "put")
        await trio.sleep(10)
        return a, b

    with capture_logs() as logs:
        a, b = run_world(main, storage=[{"use": "stormy"}, {"use": "second"}])
    assert "merged" in outcomes(a)
    assert "merged" in outcomes(b)
    assert outages(logs) == [("outage", "putting blocks by storage stormy")]


def test_a_storage_that_is_read_only_for_us_gets_nothing(run_world):
    async def main(world):
        a = world.peer("a", lineage=LINEAGE).start()
        await trio.sleep(5)
        return len(world.store.roots), published(a)

    roots, seen = run_world(main, storage=[{"use": "stormy", "write": False}, {"use": "second"}])
    assert roots == 0
    assert any(seen)


def test_after_fifty_rounds_the_storage_holds_what_is_kept_and_no_more(run_world):
    async def main(world):
        a = world.peer("a", lineage=LINEAGE, train=counting).start()
        await trio.sleep(53)
        return list(world.store.roots), a.history.published()

    roots, known = run_world(main, node={"fetch_seconds": 1.0})
    assert len(roots) == 3
    assert {root for _, root in roots} == {item.root for item in known}


def test_what_could_not_be_dropped_is_dropped_later(run_world, monkeypatch):
    monkeypatch.setattr("learnae.node.retention.AGAIN_SECONDS", 30.0)

    async def main(world):
        a = world.peer("a", lineage=LINEAGE, train=counting).start()
        world.weather.storage[a.peer] = always(Fault.BEFORE, "drop")
        await trio.sleep(20)
        before = len(world.store.roots)
        del world.weather.storage[a.peer]
        await trio.sleep(20)
        return before, len(world.store.roots)

    before, after = run_world(main, node={"fetch_seconds": 1.0})
    assert before > 10
    assert after == 3


def test_a_crash_between_put_and_announcement_leaves_an_orphan_that_the_next_start_drops(run_world):
    class DiesAfterPut(MemoryStorage):
        async def put(self, root, blocks):
            await super().put(root, blocks)
            await trio.sleep_forever()

    async def main(world):
        a = world.peer("a", lineage=LINEAGE, settings={"storage": {"use": "dies"}}).start()
        await trio.sleep(2.5)
        a.kill_node()
        orphans = list(world.store.roots)
        heard = [key for key in world.swarm.medium.newest if key[1] == f"{a.peer}/{AnnouncementKind.UPDATE.value}".encode()]
        a.settings = {}
        a.start_node()
        await trio.sleep(0.2)
        return len(orphans), heard, len(world.store.roots), a.history.own_numbers()[AnnouncementKind.UPDATE]

    orphans, heard, left, number = run_world(main, strategies={"storage": {"dies": DiesAfterPut}}, join={"wait_seconds": 0.0})
    assert (orphans, heard, left, number) == (1, [], 0, RESERVED)


def test_what_is_being_put_is_not_taken_for_an_orphan(run_world, monkeypatch):
    monkeypatch.setattr("learnae.node.retention.AGAIN_SECONDS", 0.1)

    class Slow(MemoryStorage):
        async def put(self, root, blocks):
            await super().put(root, blocks)
            await trio.sleep(0.5)

    async def main(world):
        a = world.peer("a", lineage=LINEAGE).start()
        await trio.sleep(5.3)
        return {root for _, root in world.store.roots}, {item.root for item in a.history.published()}, a.node.publisher.putting

    held, known, putting = run_world(main, strategies={"storage": {"slow": Slow}}, storage={"use": "slow"})
    assert putting is not None
    assert held == known | {putting}


def test_a_number_is_never_used_again_whenever_the_node_dies(run_world):
    async def main(world):
        a = world.peer("a", lineage=LINEAGE, train=counting).start()
        for pause in (1.0, 1.3, 2.01, 0.4, 3.0):
            await trio.sleep(pause)
            a.kill_node()
            a.start_node()
        await trio.sleep(5)
        return [(replaces, decode_envelope(message, swarm_id("default")).announcement.number) for replaces, message in world.weather.sent]

    seen = run_world(main, join={"wait_seconds": 0.0})
    assert len(seen) > 10
    assert len(set(seen)) == len(seen)


def test_a_peer_that_cannot_be_fetched_is_tried_less_and_less_often_until_it_can(run_world):
    async def main(world):
        a, b = world.two()
        world.weather.storage[a.peer] = always(Fault.BEFORE, "get")
        await trio.sleep(30.5)
        tried = [report.round for report in a.trainer.reports if report.chosen]
        failures = a.node.receiver.peers.get(b.peer).failures
        del world.weather.storage[a.peer]
        await trio.sleep(40)
        return tried, failures, a.node.receiver.peers.get(b.peer).failures, [report.merged for report in a.trainer.reports[-5:]]

    tried, failures, afterwards, merged = run_world(main)
    waits = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert waits == [2, 4, 8]  # the next would be 16 rounds later
    assert (failures, afterwards) == (4, 0)
    assert merged == [1] * 5
