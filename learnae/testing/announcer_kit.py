"""What every announcer must do, also when something goes wrong in the middle."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
import trio

from learnae.errors import UnavailableError
from learnae.node.blocking import as_written
from learnae.plugins.calls import ungrouped
from learnae.records import Heard
from learnae.strategies import Announcer
from learnae.testing.announcer_talk import AnnouncerTalk, OpenAnnouncer
from learnae.testing.kit import MediumFaults, in_trio, needs
from learnae.testing.published import checked, checked_before_the_first_run


class AnnouncerFaults(AnnouncerTalk, MediumFaults):
    """An announcer works on after every fault. The kit also breaks the medium, if your subclass defines `out_of_order`."""

    @in_trio
    async def test_a_cancelled_announce_leaves_the_announcer_working(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b, self.listening(b) as ear:
            await self.live(a, ear)
            for number, seconds in enumerate((0.0, 0.0005, 0.002)):
                with trio.move_on_after(seconds):
                    await self.send(a, b"cancelled %d" % number)
                await self.send(a, b"after %d" % number)
                await ear.hears(b"after %d" % number)

    @in_trio
    async def test_a_listener_can_be_cancelled_and_another_one_begin_at_any_moment(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b:
            for seconds in (0.0, 0.0005, 0.002, 0.01):
                with trio.move_on_after(seconds) as scope:
                    await b.listen(["c"], lambda heard: None)
                assert scope.cancelled_caught, "listen returned"
            async with self.listening(b) as ear:
                await self.live(a, ear)

    @in_trio
    async def test_while_the_medium_is_out_of_order_calls_are_unavailable_at_worst(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b:
            with self.breaking(a):
                with trio.move_on_after(self.resend_seconds), suppress(UnavailableError), ungrouped():
                    await a.announce(b"hello", channel="c", replaces=b"k")
                with trio.move_on_after(self.resend_seconds), suppress(UnavailableError), ungrouped():
                    await b.listen(["c"], lambda heard: None)
            async with self.listening(b) as ear:
                await self.live(a, ear)
                await self.send(a, b"afterwards")
                await ear.hears(b"afterwards")

    @in_trio
    async def test_after_an_outage_of_the_medium_messages_are_heard_again(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b:
            outage = self.breaking(b)
            async with self.listening(b) as ear:
                await self.live(a, ear)
                with outage, trio.move_on_after(self.resend_seconds * 2):
                    await trio.sleep_forever()
                while not ear.has(b"again"):
                    with suppress(UnavailableError), ungrouped():
                        await self.send(a, b"again")
                    await trio.sleep(self.resend_seconds)

    @in_trio
    async def test_connections_and_addresses_can_always_be_asked_for(self, announcer: OpenAnnouncer) -> None:
        a = announcer("a")
        self.look_at_connections(a)
        async with a, announcer("b") as b, self.listening(b) as ear:
            await self.live(a, ear)
            self.look_at_connections(a)
        self.look_at_connections(a)

    @in_trio
    async def test_messages_are_plain_bytes_within_the_bound(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b, self.listening(b) as ear:
            await self.live(a, ear)
            await self.send(a, b"hello")
            await ear.hears(b"hello")
        assert {type(heard) for heard in ear.heard} == {Heard}
        assert {(type(heard.message), type(heard.backlog)) for heard in ear.heard} == {(bytes, bool)}


__all__ = ["AnnouncerConformance", "OpenAnnouncer"]


class AnnouncerConformance(AnnouncerFaults):
    """Subclass it, and give the fixture `announcer`. Define `garbage`, and `out_of_order` if the medium can fail.

    The medium may deliver other messages besides those of the test.
    """

    @in_trio
    async def test_a_message_reaches_another_peer(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b, self.listening(b) as ear:
            await self.live(a, ear)
            await self.send(a, b"hello")
            await ear.hears(b"hello")

    @in_trio
    async def test_messages_go_both_ways(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b, self.listening(a) as ear_a, self.listening(b) as ear_b:
            await self.live(a, ear_b)
            await self.live(b, ear_a)
            await self.send(a, b"from a")
            await self.send(b, b"from b")
            await ear_b.hears(b"from a")
            await ear_a.hears(b"from b")

    @in_trio
    async def test_all_listeners_hear(self, announcer: OpenAnnouncer) -> None:
        async with (
            announcer("a") as a,
            announcer("b") as b,
            announcer("c") as c,
            announcer("d") as d,
            self.listening(b) as ear_b,
            self.listening(c) as ear_c,
            self.listening(d) as ear_d,
        ):
            for ear in (ear_b, ear_c, ear_d):
                await self.live(a, ear)
            await self.send(a, b"to all")
            for ear in (ear_b, ear_c, ear_d):
                await ear.hears(b"to all")

    @in_trio
    async def test_messages_arrive_intact(self, announcer: OpenAnnouncer) -> None:
        rng = random.Random(0)
        messages = [b"\0", b"\n", bytes(range(256)), "\N{SNOWMAN}".encode(), *(rng.randbytes(size) for size in (2, 100, 1090))]
        async with announcer("a") as a, announcer("b") as b, self.listening(b) as ear:
            await self.live(a, ear)
            for message in messages:
                await self.send(a, message)
            for message in messages:
                await ear.hears(message)

    @in_trio
    async def test_the_largest_message_arrives_intact(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b, self.listening(b) as ear:
            await self.live(a, ear)
            message = random.Random(0).randbytes(min(a.max_bytes, 1 << 20))
            await self.send(a, message)
            await ear.hears(message)

    @in_trio
    async def test_a_message_beyond_the_bound_is_refused(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a:
            assert a.max_bytes >= 1090, "an envelope has up to 1,090 bytes"
            with pytest.raises(ValueError, match=str(a.max_bytes)), ungrouped():
                await a.announce(bytes(a.max_bytes + 1), channel="c", replaces=b"k")

    @in_trio
    async def test_channels_are_kept_apart(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b, self.listening(b, "c") as ear:
            await self.live(a, ear)
            await self.send(a, b"elsewhere", channel="other")
            await self.send(a, b"elsewhere too", channel="c/../other", replaces=b"probe")
            await self.send(a, b"here", channel="c")
            await ear.hears(b"here")
            await self.send(a, b"and here", channel="c")
            await ear.hears(b"and here")
            assert not ear.has(b"elsewhere")
            assert not ear.has(b"elsewhere too")

    @in_trio
    async def test_several_channels_are_heard_at_once(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b, self.listening(b, "c", "d", "\N{SNOWMAN}") as ear:
            await self.live(a, ear)
            for message, channel in ((b"on c", "c"), (b"on d", "d"), (b"on the third", "\N{SNOWMAN}")):
                await self.send(a, message, channel, replaces=b"the same key in each channel")
            for message in (b"on c", b"on d", b"on the third"):
                await ear.hears(message)

    @in_trio
    async def test_a_message_sent_while_listening_is_live(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b, self.listening(b) as ear:
            await self.live(a, ear)
            await self.send(a, b"live")
            assert await ear.hears(b"live") == Heard(b"live", backlog=False)

    @in_trio
    async def test_nothing_is_backlog_after_the_first_live_message(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b:
            await self.send(a, b"early")
            async with self.listening(b) as ear:
                await self.live(a, ear)
                for number in range(5):
                    await self.send(a, b"later %d" % number)
                await ear.hears(b"later 4")
        kinds = [heard.backlog for heard in ear.heard]
        assert kinds == sorted(kinds, reverse=True)

    @needs("keeps_backlog")
    @in_trio
    async def test_what_was_sent_before_listening_is_backlog(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b:
            await self.keep(a, b"one", replaces=b"1")
            await self.keep(a, b"two", replaces=b"2")
            async with self.listening(b) as ear:
                assert await ear.hears(b"one") == Heard(b"one", backlog=True)
                assert await ear.hears(b"two") == Heard(b"two", backlog=True)

    @needs("keeps_backlog")
    @in_trio
    async def test_the_backlog_holds_the_newest_of_each_key(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b:
            await self.keep(a, b"old", replaces=b"k")
            await self.keep(a, b"other", replaces=b"another key")
            await self.keep(a, b"new", replaces=b"k")
            async with self.listening(b) as ear:
                await ear.hears(b"new")
                await ear.hears(b"other")
                await self.live(a, ear)
                assert not ear.has(b"old", backlog=False)

    @needs("keeps_backlog")
    @in_trio
    async def test_a_key_on_another_channel_is_another_key(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b:
            await self.keep(a, b"on c", "c", replaces=b"dk")
            await self.keep(a, b"on d", "d", replaces=b"dk")
            await self.keep(a, b"on cd", "cd", replaces=b"k")
            async with self.listening(b, "c", "d", "cd") as ear:
                for message in (b"on c", b"on d", b"on cd"):
                    await ear.hears(message)

    @needs("keeps_backlog")
    @in_trio
    async def test_a_second_listen_brings_the_backlog_again(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b:
            async with self.listening(b) as first:
                await self.live(a, first)
                await self.send(a, b"hello")
                await first.hears(b"hello")
            async with self.listening(b) as second:
                assert await second.hears(b"hello") == Heard(b"hello", backlog=True)

    @needs("keeps_backlog")
    @needs("survives_reopen")
    @in_trio
    async def test_the_backlog_outlives_the_announcers(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a:
            await self.keep(a, b"hello")
        async with announcer("a") as again, self.listening(again) as own, announcer("b") as b, self.listening(b) as others:
            assert await own.hears(b"hello") == Heard(b"hello", backlog=True)
            assert await others.hears(b"hello") == Heard(b"hello", backlog=True)

    @in_trio
    async def test_the_newest_of_a_key_is_heard_in_the_end(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b, self.listening(b) as ear:
            await self.live(a, ear)
            for number in range(20 if self.max_messages_per_second > 20 else 3):
                await self.send(a, b"number %d" % number, replaces=b"k")
            await self.send(a, b"the last", replaces=b"k")
            await ear.hears(b"the last")

    @in_trio
    async def test_peers_that_send_at_once_are_all_heard(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b, announcer("c") as c, self.listening(c) as ear:
            await self.live(a, ear)
            async with trio.open_nursery() as nursery:
                for number in range(4):
                    nursery.start_soon(self.send, a, b"a %d" % number)
                    nursery.start_soon(self.send, b, b"b %d" % number)
            for number in range(4):
                await ear.hears(b"a %d" % number)
                await ear.hears(b"b %d" % number)

    @in_trio
    async def test_a_silent_medium_is_waited_at_until_cancelled(self, announcer: OpenAnnouncer) -> None:
        async with announcer("b") as b:
            with trio.move_on_after(0.2) as scope:
                await b.listen(["nobody is here"], lambda heard: None)
            assert scope.cancelled_caught, "listen returned"

    @in_trio
    async def test_a_cancelled_listener_ends_and_hears_no_more(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b, announcer("c") as c, self.listening(c) as control:
            async with self.listening(b) as ear:
                await self.live(a, ear)
            count = len(ear.heard)
            await self.live(a, control)
            await self.send(a, b"hello")
            await control.hears(b"hello")
            assert len(ear.heard) == count

    @in_trio
    async def test_sending_to_nobody_is_no_error(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a:
            await self.send(a, b"is anybody there?", channel="nobody is here")

    @in_trio
    async def test_garbage_on_the_medium_does_no_harm(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b:
            try:
                await self.garbage(as_written(a))
            except NotImplementedError:
                pytest.skip("this kit does not know how to put garbage on this medium: define `garbage`")
            async with self.listening(b) as ear:
                await self.live(a, ear)
                await self.garbage(as_written(a))
                await self.send(a, b"hello")
                await ear.hears(b"hello")
        assert all(len(heard.message) <= b.max_bytes for heard in ear.heard)

    @in_trio
    async def test_a_check_before_the_first_run_leaves_nothing_behind(self, announcer: OpenAnnouncer) -> None:
        await checked_before_the_first_run(announcer("a"))

    @in_trio
    async def test_a_check_beside_a_run_disturbs_nothing(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b, self.listening(b) as ear:
            await self.live(a, ear)
            await checked(announcer("b"))
            await self.send(a, b"hello")
            await ear.hears(b"hello")

    async def garbage(self, announcer: Announcer) -> None:
        """Define it: put on channel "c" of the medium what no announcer puts there.

        Strangers send things that are too long, empty or senseless.
        """
        raise NotImplementedError
