"""Real nodes that are killed, cut apart, flooded, or left without a coordinator."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from learnae_iota.announcer import IotaAnnouncer
from learnae_iota.options import IotaAnnouncerOptions
from learnae_iota.testing.talk import announce, announced, listening

if TYPE_CHECKING:
    from learnae import Context
    from learnae_iota.devnet import Tangle

    Contexts = Callable[[str], Context]

LIMIT = 240.0  # on a machine that others use too

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
            while not at_two.outages:
                await trio.sleep(0.1)
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
            await a._nodes.nodes[0].call(lambda line: line.ask("getNodeInfo"))
            while a._nodes._records[a._nodes.nodes[0]].lost:
                await trio.sleep(0.1)
            coordinator.kill()
            await announced(a, b"at the first again")
            await ear.hears(b"at the first again")
            assert not ear.outages

    run(test)


def test_the_feed_brings_what_looks_would_bring_later(shared_tangle: Tangle, peers: Peers) -> None:
    one, two = shared_tangle.nodes

    async def test() -> None:
        async with peers.at(one.url) as a, peers.at(two.url, name="b", feed=two.feed) as b, listening(b) as ear:
            looks = 0
            while not any(not heard.backlog for heard in ear.heard):
                await announce(a, b"probe %d" % looks)
                looks += 1
                await trio.sleep(0.2)
            began = trio.current_time()
            for number in range(10):
                await announce(a, b"hello %d" % number)
                await ear.hears(b"hello %d" % number)
            asked = (trio.current_time() - began) / 10.0
            assert asked < 10, "ten looks would have brought them too"

    run(test)
