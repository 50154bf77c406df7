"""The simulated medium: delays, losses, partitions and looks are exactly what was set, and repeat."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing

from learnae.plugins.memory import MemoryAnnouncer, MemoryMedium
from learnae.strategies import NoOptions
from learnae.testing.context import SharedResources, make_context, peer_named

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from learnae.records import Heard


@attrs.define
class World:
    """Some peers on one medium, and what they heard when."""

    shared: SharedResources = attrs.field(factory=SharedResources)
    log: list[tuple[str, float, bytes, bool]] = attrs.field(factory=list)  # peer, second, message, backlog

    @property
    def medium(self) -> MemoryMedium:
        return self.shared(MemoryMedium)

    def announcer(self, peer: str) -> MemoryAnnouncer:
        return MemoryAnnouncer(NoOptions(), make_context(Path("never made"), peer=peer, shared=self.shared))

    async def listen(self, peer: str, start: float = 0.0, seconds: float = 1000.0) -> None:
        def deliver(heard: Heard) -> None:
            self.log.append((peer, round(trio.current_time(), 6), heard.message, heard.backlog))

        await trio.sleep_until(start)
        with trio.move_on_after(seconds):
            await self.announcer(peer).listen(["c"], deliver)

    async def say(self, peer: str, second: float, message: bytes, key: bytes = b"k") -> None:
        await trio.sleep_until(second)
        await self.announcer(peer).announce(message, channel="c", replaces=key)

    def run(self, *acts: Callable[[], Awaitable[None]]) -> list[tuple[str, float, bytes, bool]]:
        async def play() -> None:
            async with trio.open_nursery() as nursery:
                for act in acts:
                    nursery.start_soon(act)

        trio.run(play, clock=_from_zero())
        return self.log


def _from_zero() -> trio.testing.MockClock:
    return trio.testing.MockClock(autojump_threshold=0)


def act(function: Callable[..., Awaitable[None]], *args: object) -> Callable[[], Awaitable[None]]:
    async def it() -> None:
        await function(*args)

    return it


def test_a_message_takes_its_delay() -> None:
    world = World()
    world.medium.delay = lambda rng: 3.0
    assert world.run(act(world.listen, "b"), act(world.say, "a", 1.0, b"hello")) == [("b", 4.0, b"hello", False)]


def test_a_message_on_its_way_is_no_backlog_for_a_newcomer() -> None:
    world = World()
    world.medium.delay = lambda rng: 3.0
    log = world.run(act(world.listen, "b", 2.0), act(world.listen, "c", 5.0), act(world.say, "a", 1.0, b"hello"))
    assert log == [("b", 4.0, b"hello", False), ("c", 5.0, b"hello", True)]


def test_a_shorter_delay_overtakes() -> None:
    world = World()
    delays = {1.0: 5.0, 2.0: 1.0}
    world.medium.delay = lambda rng: delays[round(trio.current_time(), 6)]
    log = world.run(act(world.listen, "b"), act(world.say, "a", 1.0, b"first"), act(world.say, "a", 2.0, b"second"))
    assert log == [("b", 3.0, b"second", False), ("b", 6.0, b"first", False)]


def test_what_is_in_flight_to_a_listener_that_stopped_is_dropped() -> None:
    world = World()
    world.medium.delay = lambda rng: 3.0
    assert world.run(act(world.listen, "b", 0.0, 2.0), act(world.say, "a", 1.0, b"hello")) == []
    assert world.medium.listeners == {}


def test_the_share_of_losses_is_what_was_set_and_each_receiver_has_its_own() -> None:
    world = World()
    world.medium.loss = 0.25

    async def chatter() -> None:
        for number in range(400):
            await world.announcer("a").announce(b"%d" % number, channel="c", replaces=b"k")

    log = world.run(act(world.listen, "b"), act(world.listen, "c"), chatter)
    by_peer = {peer: {entry[2] for entry in log if entry[0] == peer} for peer in ("b", "c")}
    assert all(265 <= len(messages) <= 335 for messages in by_peer.values())  # 300, and four deviations of 8.7
    assert by_peer["b"] != by_peer["c"]


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    def run(seed: int) -> list[tuple[str, float, bytes, bool]]:
        world = World()
        world.medium.seed, world.medium.loss = seed, 0.3
        world.medium.delay = lambda rng: rng.expovariate(1.0)
        says = [act(world.say, peer, float(second), b"%s %d" % (peer.encode(), second)) for peer in "abc" for second in range(20)]
        return sorted(world.run(*(act(world.listen, peer) for peer in "abc"), *says))

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_partition_holds_back_what_is_pushed_for_good() -> None:
    world = World()
    halves = {peer_named("a"): 0, peer_named("b"): 1, peer_named("c"): 0}
    world.medium.reaches = lambda sender, receiver: halves[sender] == halves[receiver] or trio.current_time() > 5
    log = world.run(
        act(world.listen, "b"), act(world.listen, "c"), act(world.say, "a", 1.0, b"divided"), act(world.say, "a", 6.0, b"united", b"other")
    )
    assert log == [("c", 1.0, b"divided", False), *sorted([("b", 6.0, b"united", False), ("c", 6.0, b"united", False)], key=log.index)]


def test_a_polled_medium_is_seen_at_looks_and_shows_only_the_newest() -> None:
    world = World()
    world.medium.look_seconds = 10.0
    says = [act(world.say, "a", second, b"%d" % second) for second in (1.0, 2.0, 3.0, 12.0)]
    log = world.run(act(world.listen, "b", 0.0, 35.0), act(world.listen, "c", 5.0, 30.0), *says)
    assert [entry for entry in log if entry[0] == "b"] == [("b", 10.0, b"3", False), ("b", 20.0, b"12", False)]
    assert [entry for entry in log if entry[0] == "c"] == [("c", 5.0, b"3", True), ("c", 15.0, b"12", False)]


def test_a_healed_partition_shows_on_a_polled_medium_what_it_hid() -> None:
    world = World()
    world.medium.look_seconds = 10.0
    world.medium.reaches = lambda sender, receiver: trio.current_time() > 15
    assert world.run(act(world.listen, "b", 0.0, 50.0), act(world.say, "a", 1.0, b"hello")) == [("b", 20.0, b"hello", False)]


@pytest.mark.parametrize("look_seconds", [None, 1.0])
def test_nothing_is_delivered_twice_to_one_listener(look_seconds: float | None) -> None:
    world = World()
    world.medium.look_seconds = look_seconds
    log = world.run(act(world.say, "a", 0.0, b"before"), act(world.listen, "b", 1.0, 50.0), act(world.say, "a", 5.0, b"after"))
    assert [(message, backlog) for _, _, message, backlog in log] == [(b"before", True), (b"after", False)]
