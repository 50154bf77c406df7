"""Announcers that are right while their medium works, and wrong when it does not: each is caught."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from learnae.errors import UnavailableError
from learnae.plugins.memory import MemoryAnnouncer
from learnae.records import Heard
from learnae.strategies import Announcer
from learnae.testing.announcer_kit import AnnouncerConformance, OpenAnnouncer
from learnae.testing.context import SharedResources, make_context
from learnae.testing.kit import failing
from tests.support.breakable_storage import Gauge

OUT_OF_ORDER = "test_while_the_medium_is_out_of_order_calls_are_unavailable_at_worst"
HEARD_AGAIN = "test_after_an_outage_of_the_medium_messages_are_heard_again"
PLAIN = "test_messages_are_plain_bytes_within_the_bound"
LOOK_SECONDS = 0.01

Deliver = Callable[[Heard], None]


class Breakable(MemoryAnnouncer):
    """The right one, on a medium that can be put out of order."""

    def look(self) -> None:
        if self.context.share(Gauge).broken:
            raise UnavailableError("out of order")

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        if len(message) <= self.max_bytes:
            self.look()
        await super().announce(message, channel=channel, replaces=replaces)

    async def listen(self, channels: Sequence[str], deliver: Deliver) -> None:
        self.look()
        async with trio.open_nursery() as nursery:  # so that what it raises comes in a group
            nursery.start_soon(super().listen, channels, deliver)
            while True:
                self.look()
                await trio.sleep(LOOK_SECONDS)


class Raw(Breakable):
    """Lets the errors of its medium through as they are."""

    def look(self) -> None:
        if self.context.share(Gauge).broken:
            raise ConnectionError("refused")


class Offended(Breakable):
    """Never works again once its medium was out of order."""

    offended = False

    def look(self) -> None:
        self.offended = self.offended or self.context.share(Gauge).broken
        if self.offended:
            raise UnavailableError("never again")


class Deafened(Breakable):
    """Does not notice that its medium is there again."""

    async def listen(self, channels: Sequence[str], deliver: Deliver) -> None:
        try:
            await super().listen(channels, deliver)
        except* UnavailableError:
            await trio.sleep_forever()


class Sloppy(Breakable):
    """Delivers views of its buffer."""

    async def listen(self, channels: Sequence[str], deliver: Deliver) -> None:
        await super().listen(channels, lambda heard: deliver(Heard(memoryview(heard.message), heard.backlog)))  # type: ignore[arg-type]


class FromThreads(Breakable):
    """Delivers out of threads; the order is kept."""

    async def listen(self, channels: Sequence[str], deliver: Deliver) -> None:
        send, receive = trio.open_memory_channel[Heard](1000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().listen, channels, send.send_nowait)
            async for heard in receive:
                await trio.to_thread.run_sync(deliver, heard)


class Kit(AnnouncerConformance):
    def clock(self) -> trio.abc.Clock:
        return trio.testing.MockClock(autojump_threshold=0)

    @contextmanager
    def out_of_order(self, announcer: Announcer) -> Iterator[None]:
        gauge = announcer.context.share(Gauge)
        gauge.broken = True
        yield
        gauge.broken = False


class InRealTime(Kit):
    def clock(self) -> None:  # type: ignore[override]
        return None


def caught(wrong: type[MemoryAnnouncer], kit: AnnouncerConformance | None = None) -> set[str]:
    def announcer() -> OpenAnnouncer:
        shared, home = SharedResources(), Path("never made")
        return lambda peer: wrong(wrong.Options(), make_context(home / peer, peer=peer, shared=shared))

    return set(failing(kit or Kit(), announcer))


@pytest.mark.parametrize(
    ("wrong", "tests"),
    [
        (Raw, {OUT_OF_ORDER, HEARD_AGAIN}),
        (Offended, {OUT_OF_ORDER, HEARD_AGAIN}),
        (Deafened, {HEARD_AGAIN}),
    ],
)
def test_an_announcer_that_is_wrong_when_its_medium_breaks_is_caught(wrong: type[MemoryAnnouncer], tests: set[str]) -> None:
    assert tests == caught(wrong) & {OUT_OF_ORDER, HEARD_AGAIN, PLAIN}


def test_one_that_delivers_what_is_no_plain_bytes_is_caught() -> None:
    assert PLAIN in caught(Sloppy)


def test_one_that_raises_in_groups_is_not_caught() -> None:
    assert caught(Breakable) == set()


def test_one_that_delivers_out_of_threads_is_not_caught() -> None:
    assert caught(FromThreads, InRealTime()) == set()
