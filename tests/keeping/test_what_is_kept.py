"""Who gives way to whom where a keeper has no room for all, and what it refuses to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import trio

from learnae.node import kept as kept_
from learnae.node.inbox import InboxEntry
from learnae.node.kept import LONGEST_GAP, KeptUpdate, KeptUpdates
from learnae.records import Announcement, Cid, PeerId, Update
from learnae.testing.context import peer_named
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.support.simulated import start

SIZE = 100
SAME = b"same-one"


def announced(name: str, number: int, *, lineage: bytes = b"lineage1", size: int = SIZE) -> InboxEntry:
    update = Update(
        root=Cid(f"{name}-{number}"),
        bytes=size,
        lineage=lineage,
        architecture=SAME,
        age=number,
        provisional=False,
        own_steps=0,
        samples=0,
        step_seconds=0.0,
        codec="fp32",
    )
    return InboxEntry(Announcement(swarm=b"s" * 16, peer=peer_named(name), number=number, body=update), b"", b"", 0.0, 0, backlog=False)


@attrs.define
class Shelf:
    """Keeps what is announced to it, as a keeper does."""

    kept: KeptUpdates

    def take(self, name: str, number: int, now: float, **how: Any) -> bool:
        entry = announced(name, number, **how)
        drop = self.kept.to_drop(entry, now)
        if drop is None:
            return False
        seconds = self.kept.seconds_heard(entry.peer, now)
        for item in drop:
            self.kept.remove(item.root)
        item = KeptUpdate(entry.update.root, entry.peer, number, entry.update.bytes, seconds, b"layout", b"")
        self.kept.add(item, entry.update, now)
        assert self.kept.held_bytes <= self.kept.quota_bytes
        return True

    @property
    def roots(self) -> set[str]:
        return set(self.kept.items)


def shelf(updates: int, *named: str) -> Shelf:
    return Shelf(KeptUpdates(updates * SIZE, frozenset(map(peer_named, named))))


def test_the_newest_two_of_each_peer_are_kept() -> None:
    one = shelf(10)
    for number in range(1, 5):
        assert one.take("a", number, 10.0 * number)
    assert one.roots == {"a-3", "a-4"}


def test_older_ones_give_way_before_the_newest_of_anybody() -> None:
    one = shelf(3)
    assert [one.take("a", 1, 0.0), one.take("a", 2, 60.0), one.take("b", 1, 61.0), one.take("c", 1, 62.0)] == [True] * 4
    assert one.roots == {"a-2", "b-1", "c-1"}


def test_a_crowd_of_new_identities_displaces_nobody_who_was_heard_for_longer() -> None:
    one = shelf(3)
    for number in range(1, 4):
        one.take("honest", number, 60.0 * number)
    for number in range(1000):
        one.take(f"stranger-{number}", 1, 200.0 + number)
    assert "honest-3" in one.roots
    assert one.take("honest", 4, 1300.0)


def test_of_those_that_were_heard_once_the_next_one_takes_the_place_of_the_first() -> None:
    """Else whoever is there first with enough identities keeps everybody else out for ever."""
    one = shelf(2)
    for number in range(4):
        assert one.take(f"stranger-{number}", 1, float(number))
    assert one.roots == {"stranger-2-1", "stranger-3-1"}


def test_a_stranger_that_was_heard_for_long_still_gives_way_to_a_named_peer() -> None:
    one = shelf(2, "named")
    for number in range(1, 9):
        one.take("old", number, 100.0 * number)
    one.take("older", 1, 900.0)
    assert one.take("named", 1, 1000.0)
    assert one.take("named", 2, 1001.0)
    assert "named-2" in one.roots
    assert not one.take("new", 1, 1002.0, size=2 * SIZE)


def test_what_is_larger_than_all_that_may_go_drops_nothing() -> None:
    one = shelf(3)
    one.take("a", 1, 0.0)
    one.take("a", 2, 50.0)
    before = one.roots
    assert not one.take("b", 1, 51.0, size=4 * SIZE)
    assert one.roots == before


def test_a_long_silence_is_no_time_for_which_a_peer_was_heard() -> None:
    one = shelf(4)
    one.take("a", 1, 0.0)
    one.take("a", 2, 1e6)
    assert one.kept.newest()[peer_named("a")].seconds == LONGEST_GAP


def test_the_main_lineage_is_that_of_the_peer_that_was_heard_longest() -> None:
    one = shelf(10)
    one.take("a", 5, 0.0)
    one.take("a", 6, 60.0)
    for name in "bcd":
        one.take(name, 9, 61.0, lineage=b"lineage2")
    assert one.kept.main_lineage() == (b"lineage1", 6)


@pytest.fixture
def few_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_, "MOST_PEERS", 3)


def test_no_more_peers_are_kept_than_the_most_however_small_their_updates(few_peers) -> None:
    """Each costs a row, a root and a message that is repeated, so bytes are no bound."""
    one = shelf(1000)
    for number in range(1, 4):
        one.take("honest", number, 60.0 * number)
    for number in range(50):
        one.take(f"stranger-{number}", 1, 200.0 + number, size=1)
    assert len(one.kept.newest()) == 3
    assert {"honest-3", "honest-2", "stranger-49-1"} <= one.roots


def test_where_all_places_are_of_peers_that_were_heard_for_longer_a_new_one_gets_none(few_peers) -> None:
    one = shelf(1000)
    for number in range(1, 4):
        for name in "abc":
            one.take(name, number, 60.0 * number)
    before = one.roots
    assert not one.take("new", 1, 500.0)
    assert one.take("a", 4, 500.0)
    assert one.roots == before - {"a-2"} | {"a-4"}


def test_a_named_peer_takes_the_whole_place_of_the_one_with_the_lowest_rank(few_peers) -> None:
    one = shelf(1000, "named")
    for name, times in (("a", 3), ("b", 2), ("c", 3)):
        for number in range(1, times + 1):
            one.take(name, number, 60.0 * number)
    assert one.take("named", 1, 500.0)
    assert one.roots == {"a-2", "a-3", "c-2", "c-3", "named-1"}


def test_what_is_repeated_begins_with_the_peer_of_the_highest_rank() -> None:
    one = shelf(100, "named")
    for number in range(5):
        one.take(f"stranger-{number}", 1, 0.0)
    one.take("old", 1, 0.0)
    one.take("old", 2, 300.0)
    one.take("named", 1, 400.0)
    assert [item.root for item in one.kept.by_rank()][:2] == ["named-1", "old-2"]
    assert len(one.kept.by_rank()) == 7


def poisoning(model: dict[str, Any]) -> int:
    model["w"] += 1.0
    return 1


def peer(swarm: SimulatedSwarm, name: str, tensors: dict[str, Any] | None = None, seconds: float = 5.0, **settings: Any) -> SimulatedPeer:
    model = tensors or {"w": np.zeros(4, np.float32)}
    return swarm.peer(name, model, poisoning, round_seconds=lambda: seconds, settings=settings)


def keeper(swarm: SimulatedSwarm, **settings: Any) -> SimulatedPeer:
    return swarm.peer("keeper", {}, lambda model: 0, round_seconds=lambda: 1e6, settings={"peer": {"role": "keeper", **settings}})


def peers_kept(store: SimulatedPeer) -> set[PeerId]:
    return set(store.node.keeping.kept.newest())


@pytest.mark.virtual_time
async def test_a_flood_of_identities_at_a_keeper_leaves_the_honest_in_place(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        honest, store = [peer(swarm, "a"), peer(swarm, "b")], keeper(swarm, quota_bytes=4000)
        start(store, *honest)
        await trio.sleep(60)
        start(*(peer(swarm, f"stranger-{number}") for number in range(12)))
        await trio.sleep(60)
        assert len(store.node.receiver.inbox.known) == 14
        assert {one.peer for one in honest} <= peers_kept(store)
        assert store.node.keeping.kept.held_bytes <= 4000


@pytest.mark.virtual_time
async def test_a_keeper_refuses_what_is_no_model_of_the_swarm(tmp_path: Path) -> None:
    """It knows no model itself: it sees that the tensors are others than those of whom it trusts and who announces the same model."""
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        honest = [peer(swarm, "a"), peer(swarm, "b")]
        store = keeper(swarm)
        store.settings = {**store.settings, "join": {"trust": [honest[0].peer]}}
        start(store, *honest)
        await trio.sleep(60)
        liar = peer(swarm, "liar", {"w": np.zeros(5, np.float32)}).start()
        liar.node.publisher.architecture = honest[0].node.publisher.architecture
        await trio.sleep(60)
        assert liar.peer not in peers_kept(store)
        reasons = [verdict.reason for report in store.trainer.reports for verdict in report.verdicts if verdict.peer == liar.peer]
        assert reasons and all("its tensors are others" in reason for reason in reasons)


@pytest.mark.virtual_time
async def test_a_keeper_refuses_numbers_that_are_not_finite(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path, settings={"codec": {"use": "fp32"}}) as swarm:
        store = swarm.peer(
            "keeper", {}, lambda model: 0, round_seconds=lambda: 1e6, settings={"peer": {"role": "keeper"}, "codec": {"use": "int8"}}
        )
        liar = peer(swarm, "liar", {"w": np.full(4, np.inf, np.float32)})
        start(store, liar)
        await trio.sleep(2)
        assert await _published(liar)
        await trio.sleep(30)
        assert liar.peer not in peers_kept(store)
        reasons = {verdict.reason for report in store.trainer.reports for verdict in report.verdicts}
        assert any("not finite" in reason for reason in reasons)


async def _published(liar: SimulatedPeer) -> bool:
    """Its own node would refuse to publish that."""
    node = liar.node
    snapshot = await node.link.next_snapshot()
    published = await node.publisher.publish(snapshot, b"lineage1", provisional=False)
    return published is not None


@pytest.mark.virtual_time
async def test_updates_larger_than_the_file_allows_are_not_kept(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        large, store = peer(swarm, "large", {"w": np.zeros(4000, np.float32)}), keeper(swarm, max_update_bytes=4000)
        start(store, large)
        await trio.sleep(60)
        assert peers_kept(store) == set()
