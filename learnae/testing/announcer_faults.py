"""What every announcer must do when something goes wrong in the middle."""

from __future__ import annotations

from contextlib import suppress

import trio

from learnae.errors import Unavailable
from learnae.plugins.calls import ungrouped
from learnae.records import Heard
from learnae.testing.announcer_talk import AnnouncerTalk, OpenAnnouncer
from learnae.testing.kit import MediumFaults, in_trio


class AnnouncerFaults(AnnouncerTalk, MediumFaults):
    """It goes on after whatever breaks. A subclass that defines `out_of_order` has its medium fail too."""

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
                with trio.move_on_after(self.resend_seconds), suppress(Unavailable), ungrouped():
                    await a.announce(b"hello", channel="c", replaces=b"k")
                with trio.move_on_after(self.resend_seconds), suppress(Unavailable), ungrouped():
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
                    with suppress(Unavailable), ungrouped():
                        await self.send(a, b"again")
                    await trio.sleep(self.resend_seconds)

    @in_trio
    async def test_messages_are_plain_bytes_within_the_bound(self, announcer: OpenAnnouncer) -> None:
        async with announcer("a") as a, announcer("b") as b, self.listening(b) as ear:
            await self.live(a, ear)
            await self.send(a, b"hello")
            await ear.hears(b"hello")
        assert {type(heard) for heard in ear.heard} == {Heard}
        assert {(type(heard.message), type(heard.backlog)) for heard in ear.heard} == {(bytes, bool)}
