"""Rows of givers that have gone: a keeper has them, offers them in their givers' names, and drops what is given no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from learnae.data.pool import Pool
from learnae.node import slice_keeping
from learnae.node.kept import KeptSlice, KeptSlices
from learnae.plugins.memory import MemoryStore
from learnae.records import Cid, PeerId
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.support.rows import QUOTA, SHARES, TAKES, digits, give, home_of, labels_in_pool, pool_of, with_rows
from tests.support.simulated import start

pytestmark = pytest.mark.virtual_time

ASLEEP_SECONDS = 900.0
GIVEN_UP_SECONDS = 300.0


@pytest.fixture
def given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else these tests would take an hour of virtual time."""
    monkeypatch.setattr(slice_keeping, "KNOWN_FOR_SECONDS", GIVEN_UP_SECONDS)


def shelf(*slices: tuple[str, int], quota: int = 100, **rank: int) -> KeptSlices:
    """Of these givers and bytes each, the oldest first; the rank of who is not named is 0."""
    items = [KeptSlice(Cid(f"{giver}-{place}"), PeerId(giver), place, size, 0.0, b"") for place, (giver, size) in enumerate(slices)]
    return KeptSlices(quota, lambda peer: rank.get(peer, 0), {item.root: item for item in items})


def dropped(kept: KeptSlices, giver: str, size: int) -> list[str] | None:
    found = kept.to_drop(PeerId(giver), size)
    return None if found is None else [item.root for item in found]


def test_the_oldest_slices_of_who_has_most_give_way() -> None:
    assert dropped(shelf(("b", 10), ("a", 40), ("a", 40)), "c", 20) == ["a-1"]


def test_who_has_most_itself_gets_no_room() -> None:
    assert dropped(shelf(("b", 40), ("a", 60)), "a", 10) is None


def test_a_crowd_of_strangers_displaces_nothing_of_a_giver_of_a_higher_rank() -> None:
    kept = shelf(("named", 90), ("s1", 10), named=2)
    assert dropped(kept, "s2", 5) == ["s1-1"]
    assert dropped(kept, "s2", 10) is None
    assert dropped(kept, "named", 10) == ["s1-1"]


def test_what_is_larger_than_the_quota_drops_nothing() -> None:
    assert dropped(shelf(("a", 50)), "b", 101) is None


def keeper(swarm: SimulatedSwarm, **data: Any) -> SimulatedPeer:
    settings = {"peer": {"role": "keeper"}, "data": {"accept_bytes": QUOTA, **data}}
    return swarm.peer("keeper", {}, lambda model: 0, round_seconds=lambda: 1e6, settings=settings)


def giver_of(swarm: SimulatedSwarm, name: str, labels: tuple[int, ...], *, most_rows: int = 5, licence: str = "CC0-1.0") -> SimulatedPeer:
    peer = with_rows(swarm, name, digits(labels), SHARES, round_seconds=60.0)
    give(peer, digits(labels), most_rows=most_rows, licence=licence)
    return peer


def stored_by(peer: SimulatedPeer) -> set[str]:
    return {root for owner, root in peer.swarm.shared(MemoryStore).roots if owner == peer.peer}


def switch_off(peer: SimulatedPeer) -> None:
    """Its machine is gone without a goodbye, with all that it has stored."""
    peer.kill()
    for root in stored_by(peer):
        peer.swarm.shared(MemoryStore).drop(peer.peer, root)


async def leave(peer: SimulatedPeer) -> None:
    peer.trainer.disconnect()
    await trio.sleep(5)
    switch_off(peer)


@pytest.mark.parametrize("says_goodbye", [True, False])
@pytest.mark.parametrize("private", [False, True])
async def test_a_newcomer_gets_the_rows_of_a_giver_that_has_gone(tmp_path: Path, says_goodbye: bool, private: bool) -> None:
    async with SimulatedSwarm(folder=tmp_path, private=private) as swarm:
        giver, store = giver_of(swarm, "a", (1, 2)), keeper(swarm)
        start(store, giver)
        await trio.sleep(60)
        if says_goodbye:
            await leave(giver)
        else:
            switch_off(giver)
        await trio.sleep(ASLEEP_SECONDS)
        late = with_rows(swarm, "late", digits((3, 4)), TAKES).start()
        await trio.sleep(60)
        assert sum(one.rows for one in pool_of(late)) == 20
        assert {one.providers for one in pool_of(late)} == {(giver.peer,)}
        assert late.node.receiver.inbox.known[giver.peer].silent
        assert Pool(home_of(late), QUOTA).forget(giver.peer)
        assert not pool_of(late)


async def test_a_keeper_that_was_killed_has_the_rows_and_offers_them_again(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, store = giver_of(swarm, "a", (1, 2)), keeper(swarm)
        start(store, giver)
        await trio.sleep(60)
        await leave(giver)
        store.kill_node()
        swarm.medium.newest.clear()
        await trio.sleep(60)
        store.start_node()
        late = with_rows(swarm, "late", digits((3, 4)), TAKES).start()
        await trio.sleep(90)
        assert labels_in_pool(late) == {"1", "2"}


async def test_a_newcomer_that_starts_again_hears_the_rest(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, store = giver_of(swarm, "a", (1,), most_rows=1), keeper(swarm)
        start(store, giver)
        await trio.sleep(120)
        await leave(giver)
        late = with_rows(swarm, "late", digits((3, 4)), TAKES, round_seconds=30.0).start()
        await trio.sleep(30)
        late.kill_node()
        assert 0 < len(pool_of(late)) < 20
        late.start_node()
        await trio.sleep(400)
        assert len(pool_of(late)) == 20


async def test_what_a_giver_that_is_there_gives_no_more_is_dropped(given_up_soon: None, tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, store = giver_of(swarm, "a", (1, 2)), keeper(swarm)
        start(store, giver)
        await trio.sleep(60)
        kept = set(store.node.slice_keeping.kept.items)
        assert kept and kept <= stored_by(store)
        give(giver, digits((1, 2), count=5), most_rows=5)
        await trio.sleep(GIVEN_UP_SECONDS / 2)
        assert kept <= stored_by(store)
        await trio.sleep(GIVEN_UP_SECONDS)
        assert len(kept & stored_by(store)) == 1


async def test_a_giver_that_sleeps_takes_nothing_back(given_up_soon: None, tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, store = giver_of(swarm, "a", (1, 2)), keeper(swarm)
        start(store, giver)
        await trio.sleep(60)
        kept = set(store.node.slice_keeping.kept.items)
        await leave(giver)
        await trio.sleep(3 * GIVEN_UP_SECONDS)
        assert kept and set(store.node.slice_keeping.kept.items) == kept


async def test_a_keeper_keeps_rows_under_licences_that_its_file_accepts(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        fitting, other = giver_of(swarm, "a", (1,)), giver_of(swarm, "b", (2,), licence="GPL-3.0")
        store = keeper(swarm, licences=["CC0-1.0"])
        start(store, fitting, other)
        await trio.sleep(60)
        assert {item.peer for item in store.node.slice_keeping.kept.items.values()} == {fitting.peer}
        reasons = [verdict.reason for report in store.trainer.reports for verdict in report.verdicts if verdict.peer == other.peer]
        assert any("GPL-3.0" in reason for reason in reasons)


async def test_a_keeper_keeps_no_rows_unless_its_file_says_so(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, store = giver_of(swarm, "a", (1,)), keeper(swarm, accept_bytes=0)
        start(store, giver)
        await trio.sleep(200)
        assert store.node.slice_keeping is None
        assert stored_by(store) == set(store.node.keeping.kept.items) != set()


async def test_a_giver_that_gives_much_leaves_room_for_another(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        much, little = giver_of(swarm, "a", (1,), most_rows=1), giver_of(swarm, "b", (2,), most_rows=10)
        store = keeper(swarm, accept_bytes=8_000)
        start(store, much)
        await trio.sleep(90)
        little.start()
        await trio.sleep(90)
        kept = store.node.slice_keeping.kept
        assert sum(kept.bytes_by_giver().values()) <= 8_000
        assert {item.peer for item in kept.items.values()} == {much.peer, little.peer}
