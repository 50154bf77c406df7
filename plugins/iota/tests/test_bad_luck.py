"""Real nodes that are killed, cut apart, flooded, or left without a coordinator."""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import attrs
import psutil
import pytest
import trio

from learnae_iota import listening as listening_module
from learnae_iota.announcer import IotaAnnouncer
from learnae_iota.calls import broadcast
from learnae_iota.curl import with_nonces
from learnae_iota.line import Line
from learnae_iota.options import IotaAnnouncerOptions
from learnae_iota.places import PURPOSE, WINDOW_SECONDS, Places, window_of
from learnae_iota.testing.talk import CHANNEL, Listener, announce, announced, listening
from learnae_iota.transactions import NOTHING, Place, make

if TYPE_CHECKING:
    from learnae import Context
    from learnae_iota.devnet import Tangle

    Contexts = Callable[[str], Context]

LIMIT = 240.0  # on a machine that others use too
FLOOD, POURERS = 10_000, 64

pytestmark = [pytest.mark.slow]


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(LIMIT):
            await test()

    trio.run(bounded)


@attrs.frozen
class Peers:
    """Announcers of one private swarm, which tests before this one have not used."""

    contexts: Contexts
    secret: bytes

    def at(self, *urls: str, name: str = "a", **options: Any) -> IotaAnnouncer:
        context = attrs.evolve(self.contexts(name), secret=lambda purpose: self.secret + purpose.encode())
        return IotaAnnouncer(IotaAnnouncerOptions(nodes=urls, **{"poll_seconds": 0.3, **options}), context)


@pytest.fixture
def peers(learnae_contexts: Contexts, request: pytest.FixtureRequest) -> Peers:
    return Peers(learnae_contexts, request.node.name.encode())


@pytest.mark.parametrize("keeps_database", [True, False])
def test_a_node_that_was_killed_brings_again_what_is_in_force(
    keeps_database: bool, new_tangle: Callable[..., Tangle], peers: Peers
) -> None:
    tangle = new_tangle()
    one, two = tangle.nodes

    def start_again() -> None:
        if not keeps_database:
            two.forget()
        two.start()

    async def test() -> None:
        async with peers.at(one.url) as a, peers.at(two.url, name="b") as b, listening(a) as at_one, listening(b) as at_two:
            await announce(a, b"before", b"1")
            await at_two.hears(b"before")
            two.kill()
            await announce(a, b"meanwhile", b"2")
            await at_two.failed.wait()
            await trio.to_thread.run_sync(start_again)
            await at_two.hears(b"meanwhile")
            await announced(b, b"after", b"3")
            await at_one.hears(b"after")

    run(test)


def test_two_halves_that_meet_again_hear_what_is_in_force_in_both(new_tangle: Callable[..., Tangle], peers: Peers) -> None:
    tangle = new_tangle()
    one, two = tangle.nodes

    async def test() -> None:
        async with peers.at(one.url) as a, peers.at(two.url, name="b") as b, listening(a) as at_one, listening(b) as at_two:
            await trio.to_thread.run_sync(tangle.part, one, two)
            await announce(a, b"from one", b"1")
            await announce(b, b"from two", b"2")
            await at_one.hears(b"from one")
            await at_two.hears(b"from two")
            assert not at_one.has(b"from two")
            assert not at_two.has(b"from one")
            await trio.to_thread.run_sync(tangle.join, one, two)
            await at_one.hears(b"from two")
            await at_two.hears(b"from one")

    run(test)


def test_announcing_goes_on_when_the_coordinator_is_gone_for_good(new_tangle: Callable[..., Tangle], peers: Peers) -> None:
    """Also at a node that begins without milestones, and chooses no parents then."""
    tangle = new_tangle(nodes=3)
    coordinator, one, two = tangle.nodes

    def lose() -> None:
        coordinator.kill()
        one.stop()
        one.forget()
        one.start()
        assert not one.synchronised
        one.wait_until(lambda: one.connected_peers == 1)

    async def test() -> None:
        await trio.to_thread.run_sync(lose)
        async with peers.at(one.url) as a, peers.at(two.url, name="b") as b, listening(a) as at_one, listening(b) as at_two:
            for number in range(5):
                await announced(a, b"from one %d" % number, b"1")
                await announced(b, b"from two %d" % number, b"2")
                await at_two.hears(b"from one %d" % number)
                await at_one.hears(b"from two %d" % number)

    run(test)


def test_a_peer_goes_to_another_node_and_back_to_the_first(new_tangle: Callable[..., Tangle], peers: Peers) -> None:
    tangle = new_tangle()
    coordinator, first = tangle.nodes

    async def test() -> None:
        async with peers.at(first.url, coordinator.url) as a, peers.at(coordinator.url, name="b") as b, listening(a) as ear:
            await announce(b, b"at the first")
            await ear.hears(b"at the first")
            first.kill()
            await announced(b, b"at the second")
            await ear.hears(b"at the second")
            await trio.to_thread.run_sync(first.start)
            coordinator.kill()
            await announced(a, b"at the first again")
            await ear.hears(b"at the first again")

    run(test)


def test_the_feed_brings_messages_without_looks(shared_tangle: Tangle, peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening_module, "FEED_LOOK_SECONDS", 2 * LIMIT)
    one, two = shared_tangle.nodes

    async def test() -> None:
        async with peers.at(one.url) as a, peers.at(two.url, name="b", feed=two.feed) as b, listening(b) as ear:
            number = 0
            while all(heard.backlog for heard in ear.heard) or number < 5:
                number += 1
                await announce(a, b"hello %d" % number)
                await trio.sleep(0.1)
            await ear.hears(b"hello %d" % number)

    run(test)


def test_announcements_are_heard_through_a_flood(new_tangle: Callable[..., Tangle], peers: Peers) -> None:
    """10,000 transactions at the very place where announcements lie at that time: ten times as many as a node lists."""
    one, two = new_tangle().nodes
    places = Places.of(CHANNEL, peers.secret + PURPOSE.encode())
    process = psutil.Process()

    async def test() -> None:
        async with peers.at(one.url) as a, peers.at(two.url, name="b") as b, listening(b) as ear:
            await announce(a, b"before")
            await ear.hears(b"before")
            flood = await trio.to_thread.run_sync(partial(flooding, places.at, FLOOD))
            memory, numbers = process.memory_info().rss, itertools.count()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, pour, one.url, flood)
                while len(nursery.child_tasks):
                    await heard_by(ear, a, next(numbers))
            for _ in range(5):
                await heard_by(ear, a, next(numbers))
            assert process.memory_info().rss - memory < 64 * 2**20
            assert b.tally.garbage > 0
            assert all(heard.message.startswith((b"before", b"number")) for heard in ear.heard)

    run(test)


async def heard_by(ear: Listener, announcer: IotaAnnouncer, number: int) -> None:
    """As in a swarm: the next message is sent whether or not this one was heard; the newest is, sooner or later."""
    await announced(announcer, b"number %d" % number)
    await ear.hears(b"number %d" % number)


def flooding(at: Callable[[int], Place], count: int) -> list[str]:
    """One transaction with many nonces, which takes a minute less than as many transactions."""
    soon = time.time() + 2 * WINDOW_SECONDS
    return list(islice(with_nonces(make(b"", at(window_of(soon)), (NOTHING, NOTHING), int(soon * 1000)).replace("A9", "99", 1), 1), count))


def pour(url: str, transactions: list[str]) -> None:
    """Over many lines at once, since a node hashes what comes at one time in one go."""

    def send(some: list[str]) -> None:
        with closing(Line(url, LIMIT)) as line:
            broadcast(line, some)

    with ThreadPoolExecutor(POURERS) as pool:
        list(pool.map(send, (transactions[start : start + 20] for start in range(0, len(transactions), 20))))
