"""Announcers that are wrong on purpose: each is caught, by the tests that are about its mistake and by no other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from learnae.errors import UnavailableError
from learnae.plugins.memory import MemoryAnnouncer, MemoryMedium
from learnae.records import Heard
from learnae.testing.announcer_kit import AnnouncerConformance, OpenAnnouncer
from learnae.testing.context import SharedResources, make_context, peer_named
from learnae.testing.kit import failing, standard_tests

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from learnae import Announcer

BACKLOG = "test_what_was_sent_before_listening_is_backlog"
AGAIN = "test_a_second_listen_brings_the_backlog_again"
OUTLIVES = "test_the_backlog_outlives_the_announcers"
NEWEST = "test_the_backlog_holds_the_newest_of_each_key"
LARGEST = "test_the_largest_message_arrives_intact"
INTACT = "test_messages_arrive_intact"
SEVERAL = "test_several_channels_are_heard_at_once"
ALL_LISTENERS = "test_all_listeners_hear"
BOTH_WAYS = "test_messages_go_both_ways"
CANCELLED = "test_a_cancelled_listener_ends_and_hears_no_more"
GARBAGE = "test_garbage_on_the_medium_does_no_harm"
IN_THE_END = "test_the_newest_of_a_key_is_heard_in_the_end"
KEYS = "test_a_key_on_another_channel_is_another_key"
BOUND = "test_a_message_beyond_the_bound_is_refused"
TO_NOBODY = "test_sending_to_nobody_is_no_error"
SILENT = "test_a_silent_medium_is_waited_at_until_cancelled"
CHECK_FIRST = "test_a_check_before_the_first_run_leaves_nothing_behind"
CHECK_BESIDE = "test_a_check_beside_a_run_disturbs_nothing"

OUTAGES = {
    "test_while_the_medium_is_out_of_order_calls_are_unavailable_at_worst",
    "test_after_an_outage_of_the_medium_messages_are_heard_again",
}
ALL = set(standard_tests(AnnouncerConformance)) - OUTAGES  # this medium is never out of order
LIVE = ALL - {BOUND, TO_NOBODY, SILENT, BACKLOG, OUTLIVES, KEYS, CHECK_FIRST}  # tests that wait for a live message


class Kit(AnnouncerConformance):
    def clock(self) -> trio.abc.Clock:
        return trio.testing.MockClock(autojump_threshold=0)  # what hangs is found at once

    async def garbage(self, announcer: Announcer) -> None:
        medium = announcer.context.share(MemoryMedium)
        for message in (b"", b"\xff", bytes(10_000)):
            medium.send(peer_named("stranger"), ("c", message), message)


def caught(wrong: type[MemoryAnnouncer]) -> set[str]:
    """The tests of the kit that this announcer fails."""

    def announcer() -> OpenAnnouncer:
        shared, home = SharedResources(), Path("never made")
        return lambda peer: wrong(wrong.Options(), make_context(home / peer, peer=peer, shared=shared))

    return set(failing(Kit(), announcer))


class Bounded(MemoryAnnouncer):
    """The right one, on a medium where strangers send what they like."""

    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        await super().listen(channels, lambda heard: deliver(heard) if len(heard.message) <= self.max_bytes else None)


class AlwaysLive(Bounded):
    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        await super().listen(channels, lambda heard: deliver(Heard(heard.message)))


class NeverLive(Bounded):
    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        await super().listen(channels, lambda heard: deliver(Heard(heard.message, backlog=True)))


class Confused(Bounded):
    """Calls every third message backlog."""

    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        heard_so_far: list[Heard] = []

        def confuse(heard: Heard) -> None:
            heard_so_far.append(heard)
            deliver(Heard(heard.message, backlog=heard.backlog or len(heard_so_far) % 3 == 0))

        await super().listen(channels, confuse)


class Leaking(Bounded):
    """Sends to every channel that it has heard of."""

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        await super().announce(message, channel="c", replaces=replaces)
        await super().announce(message, channel=channel, replaces=replaces)


class SharingKeys(Bounded):
    """One message for each key, whatever the channel."""

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        for key in [key for key in self.medium.newest if key[1] == replaces]:
            del self.medium.newest[key]
        await super().announce(message, channel=channel, replaces=replaces)


class OneChannel(Bounded):
    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        await super().listen(channels[:1], deliver)


class Accepting(Bounded):
    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        await super().announce(message[: self.max_bytes], channel=channel, replaces=replaces)


class Tiny(Bounded):
    max_bytes = 512


class Truncating(Bounded):
    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        await super().announce(message, channel=channel, replaces=replaces) if len(message) > 4096 else None
        await super().announce(message[:1024], channel=channel, replaces=replaces)


class Textual(Bounded):
    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        text = message.decode("ascii", "ignore").encode() if len(message) <= 4096 else message
        await super().announce(text, channel=channel, replaces=replaces)


class Overflowing(MemoryAnnouncer):
    """Delivers what is larger than anything that it would send."""


class Fragile(Bounded):
    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        def read(heard: Heard) -> None:
            if not heard.message:
                raise UnavailableError("cannot read an empty message")
            deliver(heard)

        await super().listen(channels, read)


class Impatient(Bounded):
    """Returns when nothing came for a while."""

    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        with trio.move_on_after(0.1):
            await super().listen(channels, deliver)


class Amnesic(Bounded):
    """Keeps nothing for newcomers."""

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        await super().announce(message, channel=channel, replaces=replaces)
        self.medium.newest.clear()


class Forgetful(Bounded):
    """Takes its messages away when it leaves."""

    async def __aexit__(self, *exc_info: object) -> None:
        for key in [key for key, post in self.medium.newest.items() if post.sender == self.context.peer]:
            del self.medium.newest[key]


class Conservative(Bounded):
    """Keeps the first message of each key."""

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        first = self.medium.newest.get((channel, replaces))
        await super().announce(message, channel=channel, replaces=replaces)
        if first:
            self.medium.newest[channel, replaces] = first


class Once(Bounded):
    """Sends the first message of each key, and no later one."""

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        if (channel, replaces) not in self.medium.newest or replaces == b"probe" or len(message) > 4096:
            await super().announce(message, channel=channel, replaces=replaces)


class Jealous(Bounded):
    """Each new listener takes the messages from those before it."""

    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        self.medium.listeners.clear()
        try:
            await super().listen(channels, deliver)
        except KeyError:
            await trio.lowlevel.checkpoint_if_cancelled()


class Deaf(Bounded):
    """Hears what was there before it came, and nothing else."""

    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        with trio.move_on_after(0):
            await super().listen(channels, deliver)
        await trio.sleep_forever()


class Mute(Bounded):
    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        raise UnavailableError("nobody listens")


class Haunting(Bounded):
    """Goes on delivering after it was cancelled."""

    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        trio.lowlevel.spawn_system_task(super().listen, channels, deliver)
        await trio.sleep_forever()


class Stubborn(Bounded):
    """Cannot be cancelled."""

    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(100):
            await super().listen(channels, deliver)


class Hanging(Bounded):
    async def check(self) -> Sequence[str]:
        await trio.sleep_forever()
        return ()


class Interrupting(Bounded):
    """Tries listening out, and takes the medium from whoever listens already."""

    async def check(self) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        self.medium.listeners.clear()
        return ()


def test_the_right_one_is_not_caught() -> None:
    assert caught(Bounded) == set()


@pytest.mark.parametrize(
    ("wrong", "tests"),
    [
        (AlwaysLive, {BACKLOG, AGAIN, OUTLIVES}),
        (NeverLive, LIVE),
        (Confused, {"test_nothing_is_backlog_after_the_first_live_message"}),
        (Leaking, {"test_channels_are_kept_apart", KEYS}),
        (SharingKeys, {KEYS}),
        (OneChannel, {SEVERAL, KEYS}),
        (Accepting, {BOUND}),
        (Tiny, {INTACT, BOUND}),
        (Truncating, {INTACT, LARGEST}),
        (Textual, {INTACT, LARGEST}),
        (Overflowing, {GARBAGE}),
        (Fragile, {GARBAGE}),
        (Impatient, {SILENT}),
        (Amnesic, {BACKLOG, AGAIN, OUTLIVES, NEWEST, KEYS}),
        (Forgetful, {OUTLIVES}),
        (Conservative, {NEWEST}),
        (Once, {NEWEST, IN_THE_END}),
        (Jealous, {ALL_LISTENERS, BOTH_WAYS, CANCELLED}),
        (Deaf, LIVE),
        (Mute, ALL - {SILENT, CHECK_FIRST}),
        (Haunting, {CANCELLED}),
        (Hanging, {CHECK_FIRST, CHECK_BESIDE}),
        (Interrupting, {CHECK_BESIDE}),
        (Stubborn, ALL - {BOUND, TO_NOBODY, CHECK_FIRST}),
    ],
)
def test_a_wrong_announcer_is_caught_by_the_tests_about_its_mistake(wrong: type[MemoryAnnouncer], tests: set[str]) -> None:
    assert caught(wrong) == tests
