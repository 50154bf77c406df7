"""Givers of rows who lie, vanish or flood: what they announce is counted again, noted with their key, and costs the taker little."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import trio

from learnae.content.cids import dag_cid
from learnae.data.own import OwnSlices
from learnae.data.pool import Pool
from learnae.data.schema import Schema
from learnae.data.slices import PackedSlice, SliceRows, pack_slice
from learnae.node.history_reader import HistoryReader
from learnae.node.inbox import InboxEntry
from learnae.node.slice_fetching import REST_FOR_EACH_OFFER, SliceFetches
from learnae.observations import UpdateVerdict
from learnae.plugins.memory import MemoryStore
from learnae.records import Announcement, PeerId, Slice
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.support.rows import QUOTA, SHARES, TAKES, digits, give, home_of, labels_in_pool, pool_of, with_rows
from tests.support.simulated import offering, start, verdicts
from tests.support.slices import one_slice

pytestmark = pytest.mark.virtual_time

Lie = Callable[[SliceRows, PackedSlice], PackedSlice]


def about_rows(rows: SliceRows, packed: PackedSlice) -> PackedSlice:
    return attrs.evolve(packed, announced=attrs.evolve(packed.announced, rows=rows.count - 1, labels={}))


def about_labels(rows: SliceRows, packed: PackedSlice) -> PackedSlice:
    return attrs.evolve(packed, announced=attrs.evolve(packed.announced, labels={"7": rows.count}))


def about_sketch(rows: SliceRows, packed: PackedSlice) -> PackedSlice:
    return attrs.evolve(packed, announced=attrs.evolve(packed.announced, sketch=bytes(len(packed.announced.sketch))))


def about_size(rows: SliceRows, packed: PackedSlice) -> PackedSlice:
    """Fewer bytes than it has, and no fewer than its rows need."""
    return attrs.evolve(packed, announced=attrs.evolve(packed.announced, bytes=rows.bytes))


def within(rows: SliceRows, packed: PackedSlice) -> PackedSlice:
    """Numbers of rows by label that are not so, in the slice itself."""
    return pack_slice(attrs.evolve(rows, about=attrs.evolve(rows.about, labels={"7": rows.count})))


def infinite(rows: SliceRows, packed: PackedSlice) -> PackedSlice:
    return pack_slice(attrs.evolve(rows, columns={**rows.columns, "x": np.full_like(rows.columns["x"], np.inf)}))


def about_schema(rows: SliceRows, packed: PackedSlice) -> PackedSlice:
    """Another column than the schema has that it announces."""
    columns = tuple(attrs.evolve(one, name=f"{one.name}2") for one in rows.schema.columns)
    other = SliceRows(
        Schema(columns, "y2"), {f"{name}2": array for name, array in rows.columns.items()}, attrs.evolve(rows.about, label="y2")
    )
    renamed = pack_slice(other)
    return attrs.evolve(renamed, announced=attrs.evolve(renamed.announced, schema=rows.schema.digest))


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch) -> Callable[[SimulatedPeer, Lie], None]:
    """Lets the node of a peer offer other slices than it has."""
    liars: dict[Path, Lie] = {}
    load = OwnSlices.load

    def loading(own: OwnSlices, *args: object) -> tuple[SliceRows, PackedSlice]:
        rows, packed = load(own, *args)  # type: ignore[arg-type]
        lie = liars.get(own._home)
        return rows, lie(rows, packed) if lie else packed

    monkeypatch.setattr(OwnSlices, "load", loading)
    return lambda peer, lie: liars.update({home_of(peer): lie})


def refusals(peer: SimulatedPeer, of: SimulatedPeer) -> list[UpdateVerdict]:
    return [verdict for verdict in verdicts(peer) if verdict.stage == "slice" and verdict.peer == of.peer]


@pytest.mark.parametrize("lie", [about_rows, about_labels, about_sketch, about_size, within, infinite, about_schema])
async def test_a_lie_is_refused_noted_and_costs_its_own_teller_alone(tmp_path: Path, lying: Callable[..., None], lie: Lie) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        liar, honest = with_rows(swarm, "a", digits((1,)), SHARES), with_rows(swarm, "c", digits((2,)), SHARES)
        taker = with_rows(swarm, "b", digits((3,)), TAKES)
        give(liar, digits((1,)))
        give(honest, digits((2,), seed=4))
        lying(liar, lie)
        start(liar, honest, taker)
        await trio.sleep(60)
        assert labels_in_pool(taker) == {"2"}
        assert [verdict.reason for verdict in refusals(taker, liar)]
        assert not refusals(taker, honest)
        told = HistoryReader(taker.history.database).verdicts(peer=liar.peer, root=None, limit=500)
        assert [verdict.stage for verdict in told if verdict.stage == "slice"]


@pytest.mark.parametrize("lie", [about_labels, about_size])
async def test_a_root_of_which_one_peer_lies_is_had_from_one_that_does_not(tmp_path: Path, lying: Callable[..., None], lie: Lie) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        liar, honest = with_rows(swarm, "a", digits((1,)), SHARES), with_rows(swarm, "c", digits((1,)), SHARES)
        taker = with_rows(swarm, "b", digits((3,)), TAKES)
        give(liar, digits((1,)))
        lying(liar, lie)
        start(liar, taker)
        await trio.sleep(60)
        assert refusals(taker, liar)
        assert not pool_of(taker)
        give(honest, digits((1,)))
        honest.start()
        await trio.sleep(60)
        assert [one.providers for one in pool_of(taker)] == [(honest.peer,)]


def giver_and_taker(swarm: SimulatedSwarm, label: int = 1, **how: Any) -> tuple[SimulatedPeer, SimulatedPeer]:
    """One that gives images of a digit, and one that has others. They were not started."""
    settings = how.pop("settings", TAKES)
    licence, seconds = how.pop("licence", "CC0-1.0"), how.pop("round_seconds", 2.0)
    giver = with_rows(swarm, "a", digits((label,)), SHARES, round_seconds=seconds)
    taker = with_rows(swarm, "b", digits((3,)), settings, round_seconds=seconds, **how)
    give(giver, digits((label,)), licence=licence)
    return giver, taker


async def test_what_is_refused_is_fetched_once_however_often_it_is_announced(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, taker = giver_and_taker(swarm, 7, known=("1", "2", "3"), round_seconds=20)
        start(giver, taker)
        await trio.sleep(900)
        assert [verdict.reason.partition(":")[0] for verdict in refusals(taker, giver)] == ["labels"]
        assert not pool_of(taker)


@pytest.mark.parametrize("licence", ["proprietary", ""])
async def test_rows_under_a_licence_that_is_not_accepted_are_not_kept(tmp_path: Path, licence: str) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        named = {"licences": ["CC0-1.0"]} if licence else {}
        giver, taker = giver_and_taker(swarm, settings={"data": {"accept_bytes": QUOTA, **named}}, licence=licence)
        start(giver, taker)
        await trio.sleep(60)
        assert not pool_of(taker)
        assert [verdict.reason.partition(":")[0] for verdict in refusals(taker, giver)] == ["licence"]


async def test_a_giver_whose_blocks_are_gone_is_tried_ever_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, taker = giver_and_taker(swarm, round_seconds=20)
        rows = set(OwnSlices(home_of(giver)).roots())
        put = MemoryStore.put
        monkeypatch.setattr(MemoryStore, "put", lambda store, peer, root, blocks: root in rows or put(store, peer, root, blocks))
        start(giver, taker)
        await trio.sleep(1800)
        tried = refusals(taker, giver)
        assert 3 <= len(tried) <= 8
        rounds = [verdict.round for verdict in tried]
        assert rounds[-1] - rounds[-2] > rounds[1] - rounds[0]


async def test_a_denied_giver_is_not_fetched_from(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver = with_rows(swarm, "a", digits((1,)), SHARES)
        taker = with_rows(swarm, "b", digits((3,)), {**TAKES, "peer": {"deny": [giver.peer]}})
        give(giver, digits((1,)))
        start(giver, taker)
        await trio.sleep(60)
        assert not pool_of(taker)


async def test_watchers_of_updates_are_not_told_of_slices(tmp_path: Path) -> None:
    told: list[UpdateVerdict] = []
    manager = offering({}, {"learnae_update_judged": lambda verdict: told.append(verdict)})
    async with SimulatedSwarm(folder=tmp_path, manager=manager) as swarm:
        giver, taker = giver_and_taker(swarm, licence="")
        start(giver, taker)
        await trio.sleep(60)
        assert refusals(taker, giver)
        assert told
        assert not [verdict for verdict in told if verdict.stage == "slice"]


async def test_a_full_disk_here_counts_against_no_giver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, taker = giver_and_taker(swarm)
        with monkeypatch.context() as patched:
            patched.setattr(Pool, "add", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            start(giver, taker)
            await trio.sleep(60)
            assert not refusals(taker, giver)
        await trio.sleep(30)
        assert labels_in_pool(taker) == {"1"}


async def test_however_often_slices_are_announced_all_offers_are_looked_at_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    choose = SliceFetches._choose

    def counting(fetches: SliceFetches, *args: Any, **keys: Any) -> Any:
        nonlocal looks
        looks += 1
        return choose(fetches, *args, **keys)

    monkeypatch.setattr(SliceFetches, "_choose", counting)
    offer = pack_slice(one_slice(digits((7,)))).announced
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        taker = with_rows(swarm, "b", digits((3,)), TAKES, known=("3",))
        start(taker)
        await trio.sleep(10)
        assert taker.node is not None and taker.node.slice_fetches is not None
        fetches = taker.node.slice_fetches
        for number in range(1000):
            peer = PeerId(f"{number:064x}")
            fetches.catalogue.hear(_heard(peer, attrs.evolve(offer, root=dag_cid(f"{number}".encode()))))
        for one in list(fetches.catalogue.offers()):
            fetches._records.note(one).not_before = math.inf
        await trio.sleep(1)
        looks = 0
        for number in range(100):
            fetches.hear(_heard(PeerId(f"{number:064x}"), attrs.evolve(offer, root=dag_cid(f"{number}".encode()))))
            await trio.sleep(0.1)
        assert looks <= 2 * 10 / (1000 * REST_FOR_EACH_OFFER) + 4


def _heard(peer: PeerId, body: Slice) -> InboxEntry:
    return InboxEntry(Announcement(swarm=bytes(16), peer=peer, number=1, body=body), b"", b"", 0.0, 1, backlog=False)
