"""A keeper whose own storage or disk fails: it keeps what it had, and blames nobody else."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path

import pytest
import trio

from learnae.errors import UnavailableError
from learnae.node.kept import KeptSliceTable, KeptTable
from learnae.records import Heard
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.keeping.test_asleep import lose_disk
from tests.keeping.test_rows_are_kept import giver_of
from tests.keeping.test_rows_are_kept import keeper as keeper_of_rows
from tests.keeping.test_what_is_kept import keeper, peer
from tests.support.simulated import start

pytestmark = pytest.mark.virtual_time


def blamed(store: SimulatedPeer) -> list[str]:
    return [verdict.reason for report in store.trainer.reports for verdict in report.verdicts]


class Broken:
    """A disk that takes nothing."""

    def __init__(self) -> None:
        self.tried = 0

    def __call__(self, *args: object) -> None:
        self.tried += 1
        raise UnavailableError("the disk is full")


async def test_what_is_kept_stays_where_the_next_one_cannot_be_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        honest, store = peer(swarm, "a"), keeper(swarm)
        start(store, honest)
        await trio.sleep(60)
        before = dict(store.node.keeping.kept.items)
        disk = Broken()
        with monkeypatch.context() as full:
            full.setattr(KeptTable, "add", disk)
            await trio.sleep(60)
            assert disk.tried > 1
            assert store.node.keeping.kept.items == before != {}
        assert blamed(store) == []
        assert store.node.receiver.peers.get(honest.peer).failures == 0
        assert "keeping" in store.node.runtime.outages.broken
        await trio.sleep(60)
        assert store.node.keeping.kept.newest()[honest.peer].number > max(item.number for item in before.values())
        assert store.node.runtime.outages.broken == {}


async def test_others_are_dropped_only_after_the_new_one_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        stranger, store = peer(swarm, "stranger"), keeper(swarm, quota_bytes=400)
        start(store, stranger)
        with trio.fail_after(60):
            while not store.node.keeping.kept.items:  # noqa: ASYNC110  # of a node
                await trio.sleep(0.1)
        stranger.kill()
        lose_disk(stranger)
        with monkeypatch.context() as full:
            full.setattr(KeptTable, "add", Broken())
            honest = peer(swarm, "honest").start()
            await trio.sleep(120)
            assert set(store.node.keeping.kept.newest()) == {stranger.peer}
        await trio.sleep(60)
        assert honest.peer in store.node.keeping.kept.newest()
        assert store.node.keeping.kept.held_bytes <= 400


async def test_rows_that_cannot_be_stored_are_no_fault_of_their_giver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, store = giver_of(swarm, "giver", (0, 1)), keeper_of_rows(swarm)
        with monkeypatch.context() as full:
            disk = Broken()
            full.setattr(KeptSliceTable, "add", disk)
            start(store, giver)
            await trio.sleep(120)
            assert disk.tried > 1
            assert not store.node.slice_keeping.kept.items
        assert blamed(store) == []
        await trio.sleep(120)
        assert store.node.slice_keeping.kept.items


@pytest.mark.parametrize("trains", [False, True])
async def test_what_was_refused_is_counted_once_where_the_disk_fails_now_and_then(tmp_path: Path, monkeypatch, trains: bool) -> None:
    """Each second round cannot be saved, at its end: what was counted by then is neither lost nor counted again."""
    rounds = itertools.count()

    def full_now_and_then(*_: object) -> None:
        if next(rounds) % 2:
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("learnae.node.history.add_contributions", full_now_and_then)
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        one = peer(swarm, "a") if trains else keeper(swarm)
        start(one)
        await trio.sleep(5)
        for number in range(60):
            one.node.receiver.hear(Heard(b"noise %d" % number))
            await trio.sleep(1)
        one.trainer.disconnect()
        await trio.sleep(5)
        assert sum(one.history.counts().values()) == 60
        assert next(rounds) > 5
