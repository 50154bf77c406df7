"""Real nodes that are killed, cut apart, flooded, or left without a coordinator."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

import attrs
import psutil
import pytest
import trio

from learnae_iota import listening as listening_module
from learnae_iota.announcer import IotaAnnouncer
from learnae_iota.calls import broadcast, find
from learnae_iota.curl import with_nonces
from learnae_iota.line import NodeApi
from learnae_iota.options import IotaAnnouncerOptions
from learnae_iota.places import PURPOSE, WINDOW_SECONDS, Places, window_of
from learnae_iota.transactions import NOTHING, MessageTag, make
from tests.support.tangle.talk import CHANNEL, TangleListener, announce, announced, listening

if TYPE_CHECKING:
    from learnae import Context
    from learnae_iota.devnet import HornetProcess, Tangle

    Contexts = Callable[[str], Context]

LIMIT = 240.0  # on a machine that others use too
MOST_LISTED = 1000  # by a node, of one place
FLOOD, POURERS = 3 * MOST_LISTED, 64
ENOUGH, MOMENT_SECONDS, LOOK_SECONDS = 3, 2.0, 0.2

pytestmark = [pytest.mark.slow]


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
async def test_a_node_that_was_killed_brings_again_what_is_in_force(
    keeps_database: bool, new_tangle: Callable[..., Tangle], peers: Peers
) -> None:
    tangle = new_tangle()
    one, two = tangle.nodes

    def start_again() -> None:
        if not keeps_database:
            two.forget()
        two.start()

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


async def test_two_halves_that_meet_again_hear_what_is_in_force_in_both(new_tangle: Callable[..., Tangle], peers: Peers) -> None:
    tangle = new_tangle()
    one, two = tangle.nodes

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


async def test_announcing_goes_on_when_the_coordinator_is_gone_for_good(new_tangle: Callable[..., Tangle], peers: Peers) -> None:
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

    await trio.to_thread.run_sync(lose)
    async with peers.at(one.url) as a, peers.at(two.url, name="b") as b, listening(a) as at_one, listening(b) as at_two:
        for number in range(5):
            await announced(a, b"from one %d" % number, b"1")
            await announced(b, b"from two %d" % number, b"2")
            await at_two.hears(b"from one %d" % number)
            await at_one.hears(b"from two %d" % number)


async def test_a_peer_goes_to_another_node_and_back_to_the_first(new_tangle: Callable[..., Tangle], peers: Peers) -> None:
    tangle = new_tangle()
    coordinator, first = tangle.nodes

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


async def test_the_feed_brings_messages_without_looks(shared_tangle: Tangle, peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening_module, "FEED_LOOK_SECONDS", 2 * LIMIT)
    one, two = shared_tangle.nodes

    async with peers.at(one.url) as a, peers.at(two.url, name="b", feed=two.feed) as b, listening(b) as ear:
        number = 0
        while all(heard.backlog for heard in ear.heard) or number < 5:
            number += 1
            await announce(a, b"hello %d" % number)
            await trio.sleep(0.1)
        await ear.hears(b"hello %d" % number)


async def test_announcements_are_heard_through_a_flood(new_tangle: Callable[..., Tangle], peers: Peers) -> None:
    """Three times as many transactions as a node lists, at each of the places where announcements lie meanwhile."""
    one, two = new_tangle().nodes
    flood = Flood(one.url, Places.of(CHANNEL, peers.secret + PURPOSE.encode()))
    process = psutil.Process()

    async with peers.at(one.url) as a, peers.at(two.url, name="b") as b, listening(b) as ear, trio.open_nursery() as nursery:
        await announced(a, b"before")
        await ear.hears(b"before")
        memory = process.memory_info().rss
        nursery.start_soon(trio.to_thread.run_sync, flood.run)
        try:
            heard, numbers = 0, itertools.count()
            while heard < ENOUGH:
                heard += await heard_at_a_full_place(ear, a, two, flood.places, b"number %d" % next(numbers))
        finally:
            flood.over = True
        await announced(a, b"after")
        await ear.hears(b"after")
        assert process.memory_info().rss - memory < 64 * 2**20
        assert b.round_record.garbage > MOST_LISTED
        assert all(heard.message.startswith((b"before", b"number", b"after")) for heard in ear.heard)


async def heard_at_a_full_place(ear: TangleListener, announcer: IotaAnnouncer, node: HornetProcess, places: Places, message: bytes) -> bool:
    """Whether it is, in a moment. As in a swarm, the next one is announced otherwise."""
    window = window_of(time.time())
    if not await trio.to_thread.run_sync(is_full, node.url, places.at(window)):
        await trio.sleep(LOOK_SECONDS)
        return False
    await announced(announcer, message)
    with trio.move_on_after(MOMENT_SECONDS):
        await ear.hears(message)
    return ear.has(message) and window_of(time.time()) == window


def is_full(url: str, place: MessageTag) -> bool:
    with closing(NodeApi(url, LIMIT)) as line:
        return len(find(line, [place.address])) >= MOST_LISTED


@attrs.define
class Flood:
    """Fills one place after the other, each in the minute before its time comes."""

    url: str
    places: Places
    over: bool = False

    def run(self) -> None:
        window = 0
        while not self.over:
            window = max(window, window_of(time.time()) + 2) + 1
            pour(self.url, list(self._transactions(window)))

    def _transactions(self, window: int) -> Iterator[str]:
        """One transaction with many nonces, which takes a sixth of the time of as many transactions."""
        transaction = make(b"", self.places.at(window), (NOTHING, NOTHING), window * WINDOW_SECONDS * 1000)
        return islice(with_nonces(transaction.replace("A9", "99", 1), 1), FLOOD)


def pour(url: str, transactions: list[str]) -> None:
    """Over many lines at once, since a node hashes what comes at one time in one go."""

    def send(some: list[str]) -> None:
        with closing(NodeApi(url, LIMIT)) as line:
            broadcast(line, some)

    with ThreadPoolExecutor(POURERS) as pool:
        list(pool.map(send, (transactions[start : start + 20] for start in range(0, len(transactions), 20))))
