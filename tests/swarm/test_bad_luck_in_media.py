"""Announcers and storages that are down, deaf, dumb or slow, at the start and later."""

from __future__ import annotations

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from learnae.errors import PluginError, UnavailableError
from learnae.identity.envelopes import decode_envelope
from learnae.identity.swarms import swarm_id
from learnae.plugins.memory import MemoryAnnouncer, MemoryStorage
from learnae.records import AnnouncementKind
from learnae.testing.faults import Fault, always
from tests.support.simulated import LINEAGE, merges, outages

pytestmark = pytest.mark.virtual_time


# -- at the start ----------------------------------------------------------------------------------------------------------------


async def test_a_storage_that_is_down_at_the_start_stops_no_training_and_is_used_when_it_is_up(a_world):
    with capture_logs() as logs:
        async with a_world() as world:
            a, _ = world.two()
            world.weather.at_start[a.peer] = [UnavailableError("no daemon")] * 4
            await trio.sleep(20.5)
    published = [report.published is not None for report in a.trainer.reports]
    assert published[:6] == [False] * 6
    assert all(published[-10:])
    assert a.trainer.progress.steps == 20
    assert merges(a) > 5
    assert outages(logs) == [("outage", "storage stormy"), ("outage.over", "storage stormy")]


def test_a_plugin_that_breaks_at_the_start_ends_the_node_with_its_name(run_world):
    class Broken(MemoryStorage):
        async def __aenter__(self):
            raise AttributeError("wrong version of something")

    async def main(world):
        world.peer("a", lineage=LINEAGE, settings={"storage": {"use": "broken"}}).start()
        await trio.sleep(10)

    named = pytest.RaisesExc(PluginError, match="'bad-luck' failed while keeping storage broken open: AttributeError")
    with pytest.RaisesGroup(named):
        run_world(main, strategies={"storage": {"broken": Broken}})


# -- listening -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.HALFWAY, Fault.GARBAGE])
async def test_listening_is_taken_up_again_after_an_outage(a_world, fault):
    with capture_logs() as logs:
        async with a_world() as world:
            a, _ = world.two()
            world.weather.announcer[a.peer] = lambda method, call: fault if method == "listen" and call < 3 else None
            await trio.sleep(20.5)
    if fault is Fault.GARBAGE:  # nothing breaks, so nothing is tried again
        assert merges(a) == 0
        assert sum(a.history.counts().values()) > 10
    else:
        assert merges(a) > 5
        assert ("outage", "listening by announcer stormy") in outages(logs)


async def test_each_outage_of_listening_is_told_when_it_begins_and_when_it_is_over(a_world):
    class Breaking(MemoryAnnouncer):
        async def listen(self, channels, deliver):
            with trio.move_on_after(40):
                await super().listen(channels, deliver)
            raise UnavailableError("the connection broke")

    with capture_logs() as logs:
        async with a_world(strategies={"announcer": {"breaking": Breaking}}) as world:
            world.two(settings={"announcer": {"use": "breaking"}})
            await trio.sleep(100)
    assert [event for event, _ in outages(logs)] == ["outage", "outage.over", "outage", "outage.over"]


async def test_a_medium_that_breaks_after_each_message_is_one_outage(a_world):
    with capture_logs() as logs:
        async with a_world() as world:
            a, _ = world.two()
            world.weather.announcer[a.peer] = always(Fault.HALFWAY, "listen")
            await trio.sleep(100)
    assert outages(logs) == [("outage", "listening by announcer stormy")]


async def test_an_announcer_that_returns_from_listening_is_listened_to_again(a_world):
    class Forgetful(MemoryAnnouncer):
        async def listen(self, channels, deliver):
            with trio.move_on_after(5):
                await super().listen(channels, deliver)

    async with a_world(strategies={"announcer": {"forgetful": Forgetful}}) as world:
        a, _ = world.two(settings={"announcer": {"use": "forgetful"}})
        await trio.sleep(30.5)
    assert merges(a) >= 3


async def test_an_announcer_that_delivers_nonsense_is_named_and_asked_again_less_and_less_often(a_world):
    class Mad(MemoryAnnouncer):
        calls = 0

        async def listen(self, channels, deliver):
            Mad.calls += 1
            deliver("not a Heard")

    with capture_logs() as logs:
        async with a_world(strategies={"announcer": {"mad": Mad}}) as world:
            a, _ = world.two(settings={"announcer": {"use": "mad"}})
            await trio.sleep(100)
    assert len(a.trainer.reports) > 90
    assert 5 < Mad.calls < 15
    [line] = [line for line in logs if line["event"] == "outage" and line["own"] == "a"]
    assert "bad-luck" in line["cause"]


async def test_what_a_restarted_node_hears_before_its_first_round_is_as_fresh_as_ever(a_world):
    async with a_world() as world:
        a, b = world.two()
        b.trainer.round_seconds = lambda: 0.73
        await trio.sleep(20.2)
        a.kill_node()
        a.start_node()
        await trio.sleep(0.9)  # the other publishes at 20.44, the first own round is at 21.0
        report = a.trainer.reports[-1]
    assert report.round > 15
    assert report.heard == report.merged == 1


# -- announcing ------------------------------------------------------------------------------------------------------------------


async def test_an_announcer_that_hangs_costs_a_round_ten_seconds_and_is_then_left_alone(a_world):
    with capture_logs() as logs:
        async with a_world() as world:
            a, _ = world.two()
            world.weather.announcer[a.peer] = always(Fault.SILENCE, "announce")
            await trio.sleep(300)
    assert len(a.trainer.reports) > 200
    assert merges(a) > 100
    assert outages(logs) == [("outage", "announcing by announcer stormy")]


async def test_out_of_two_announcers_one_is_enough(a_world):
    async with a_world(announcer=[{"use": "stormy"}, {"use": "memory"}]) as world:
        a, b = world.two()
        world.weather.announcer[a.peer] = always(Fault.BEFORE)
        await trio.sleep(10.5)
    assert merges(a) > 5
    assert merges(b) > 5


async def test_an_announcement_that_gets_lost_is_made_good_by_the_next(a_world):
    async with a_world() as world:
        a, b = world.two()
        world.weather.announcer[b.peer] = lambda method, call: Fault.BEFORE if method == "announce" and call % 2 else None
        await trio.sleep(20.5)
    assert merges(a) > 5


# -- goodbyes --------------------------------------------------------------------------------------------------------------------


def kinds_sent(world) -> list[AnnouncementKind]:
    return [decode_envelope(message, swarm_id("default")).announcement.kind for _, message in world.weather.sent]


async def test_a_node_whose_trainer_is_gone_says_goodbye_saves_and_ends(a_world):
    async with a_world() as world:
        a = world.peer("a", lineage=LINEAGE).start()
        await trio.sleep(5.5)
        a.trainer.disconnect()
        await trio.sleep(0.5)
        found = kinds_sent(world)[-1]
    assert found is AnnouncementKind.LEAVING


async def test_stopping_says_goodbye_too_and_waits_for_nobody(a_world):
    async with a_world() as world:
        a = world.peer("a", lineage=LINEAGE).start()
        await trio.sleep(5.5)
        world.weather.announcer[a.peer] = always(Fault.SILENCE, "announce")
        a.node.stop()
        await trio.sleep(5)
        found = [a.node.services.is_open(service) for service in a.node.strategies.services()]
    assert found == [False, False]


async def test_what_was_learned_is_saved_even_if_the_goodbye_hangs(a_world):
    async with a_world() as world:
        a, b = world.two()
        b.trainer.round_seconds = lambda: 0.7
        await trio.sleep(5.65)  # the last own round ended at 5.0, the last of the other at 5.6
        world.weather.announcer[a.peer] = always(Fault.SILENCE, "announce")
        heard = a.node.receiver.inbox.get(b.peer, AnnouncementKind.UPDATE).announcement.number
        a.node.stop()
        await trio.sleep(3)
        saved = a.history.marks()[b.peer, AnnouncementKind.UPDATE].number
    assert saved == heard


async def test_what_a_round_was_about_to_save_when_it_was_stopped_is_saved_with_the_goodbye(a_world):
    async with a_world() as world:
        a, b = world.two()
        await trio.sleep(5.5)
        receiver, heard = a.node.receiver, []
        in_thread = receiver.runtime.in_thread

        async def stopping(write, *args):
            if not heard:
                heard.append(receiver.inbox.get(b.peer, AnnouncementKind.UPDATE).announcement.number)
                a.node.stop()
            return await in_thread(write, *args)

        receiver.runtime = attrs.evolve(receiver.runtime, in_thread=stopping)  # the receiver saves, and has threads for nothing else
        await trio.sleep(3)
        saved = [a.history.marks()[b.peer, AnnouncementKind.UPDATE].number]
    assert heard
    assert saved == heard
