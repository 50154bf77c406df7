"""Peers publish signed views of what others gave where their files say so, and fetch those of others when their users order it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from learnae.identity.keys import Identity
from learnae.node import view_exchange
from learnae.node.views import ContributionView, decode_view, encode_view, pack_view
from learnae.plugins.memory import MemoryStore
from learnae.records import AnnouncementKind, PeerId, Present
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.support.simulated import merges, start
from tests.swarm.test_observers import a_trainer

pytestmark = pytest.mark.virtual_time


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each second of a simulated swarm takes time to simulate."""
    monkeypatch.setattr(view_exchange, "FIRST_SECONDS", 5.0)
    monkeypatch.setattr(view_exchange, "AGAIN_SECONDS", 20.0)


SHARES = {"peer": {"share_contributions": True}}


def a_crowd(swarm: SimulatedSwarm, *settings: dict) -> list[SimulatedPeer]:
    crowd = [a_trainer(swarm, name, number) for name, number in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
    for peer, own in zip(crowd, settings, strict=False):
        peer.settings = own
    return crowd


def views_of(peer: SimulatedPeer) -> dict[PeerId, ContributionView]:
    return {kept.peer: decode_view(kept.data, peer=kept.peer) for kept in peer.history.reader.views()}


def named_view(peer: SimulatedPeer, other: SimulatedPeer) -> object:
    """What the other one's presence names, as this peer has heard it."""
    assert peer.node is not None
    entry = peer.node.receiver.inbox.get(other.peer, AnnouncementKind.PRESENT)
    assert entry is not None and isinstance(entry.announcement.body, Present)
    return entry.announcement.body.contributions


async def test_by_default_nobody_is_told_who_gave_what() -> None:
    async with SimulatedSwarm() as swarm:
        one, other, _ = crowd = a_crowd(swarm)
        start(*crowd)
        await trio.sleep(40)
        assert named_view(one, other) is None
        one.history.orders.ask_views()
        await trio.sleep(8)
        order = one.history.orders.last_ask()
        assert order is not None and order.outcome == "no peer that is heard publishes a view"


@pytest.mark.parametrize("private", [False, True], ids=["open", "private"])
async def test_an_order_brings_the_views_of_those_that_publish_one(tmp_path: Path, private: bool) -> None:
    async with SimulatedSwarm(private=private, folder=tmp_path) as swarm:
        one, other, third = crowd = a_crowd(swarm, {}, SHARES, SHARES)
        if private:
            for peer in (other, third):
                peer.settings = SHARES
        start(*crowd)
        await trio.sleep(40)
        assert views_of(one) == {}, "nobody has asked"
        one.history.orders.ask_views()
        await trio.sleep(8)
        found = views_of(one)
        assert found.keys() == {other.peer, third.peer}
        order = one.history.orders.last_ask()
        assert order is not None and order.outcome == "2 of 2 views came"
        (about,) = [row for row in found[other.peer].given if row.peer == one.peer]
        assert 0 < about.given.merged <= merges(other)
        assert one.history.orders.take_ask() is None


async def test_a_view_is_signed_anew_when_there_is_more_to_say_and_old_ones_leave_the_storages() -> None:
    async with SimulatedSwarm() as swarm:
        one, other, _ = crowd = a_crowd(swarm, {}, SHARES)
        start(*crowd)
        await trio.sleep(40)
        seen = set()
        for _ in range(5):
            await trio.sleep(32)
            seen.add(named_view(one, other))
        assert len(seen) >= 4 and None not in seen
        stored = {root for owner, root in swarm.shared(MemoryStore).roots if owner == other.peer}
        assert other.node is not None
        kept = set(other.node.view_exchange._roots)
        assert len(kept) == 2 and kept <= stored, "the newest, and the one before"
        assert not (seen - kept) & stored


async def test_who_has_nothing_new_to_say_signs_nothing_though_its_rounds_go_on() -> None:
    async with SimulatedSwarm() as swarm:
        one, other, third = crowd = a_crowd(swarm, {}, SHARES)
        start(*crowd)
        await trio.sleep(40)
        for peer in (one, third):
            peer.kill()
        await trio.sleep(40)
        assert other.node is not None
        exchange = other.node.view_exchange
        root, round_ = exchange.root, other.history.last_round()
        await trio.sleep(60)
        assert other.history.last_round() > round_
        assert exchange.root == root is not None


async def test_a_view_of_somebody_else_is_refused_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A liar names a view that it has signed for another one, or that is another one's own."""
    monkeypatch.setattr(view_exchange, "AGAIN_SECONDS", 1e6)
    async with SimulatedSwarm() as swarm:
        one, liar, _ = crowd = a_crowd(swarm, {}, SHARES)
        start(*crowd)
        await trio.sleep(40)
        assert liar.node is not None
        victim = Identity.generate(b"v" * 32)
        stolen = encode_view(ContributionView(liar.node.strategies.swarm.id, victim.peer, 1, ()), victim)
        packed = pack_view(stolen, victim.peer)
        await liar.node.publisher.put(packed.root, packed.blocks, liar.node.strategies.storages)
        liar.node.view_exchange._roots.append(packed.root)
        await trio.sleep(40)
        assert named_view(one, liar) == packed.root
        one.history.orders.ask_views()
        await trio.sleep(8)
        order = one.history.orders.last_ask()
        assert views_of(one) == {}
        assert order is not None and order.outcome.startswith("0 of 1 views came") and "not-the-announced" in order.outcome


async def test_a_view_that_nobody_has_any_more_ends_the_order_in_time() -> None:
    async with SimulatedSwarm() as swarm:
        one, other, _ = crowd = a_crowd(swarm, {}, SHARES)
        start(*crowd)
        await trio.sleep(40)
        root = named_view(one, other)
        swarm.shared(MemoryStore).drop(other.peer, root)
        other.kill()
        one.history.orders.ask_views()
        await trio.sleep(20)
        order = one.history.orders.last_ask()
        assert order is not None and order.outcome.startswith("0 of 1 views came")
