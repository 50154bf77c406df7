"""Updates that are encoded beside an earlier version: who fetches, keeps and carries what they build on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import trio

from learnae.node.bases import chain
from learnae.plugins.memory import MemoryStore
from learnae.records import Cid
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.relay.conftest import opened
from tests.support.simulated import LINEAGE, merged_of, start, verdicts

pytestmark = pytest.mark.virtual_time

CODECS = ["int4-delta", "random-subset", "patch", "sparse"]


def fresh(rows: int) -> Any:
    return np.random.default_rng(0).standard_normal((rows, 30)).astype(np.float32)


def drifting(seed: int) -> Any:
    chance = np.random.default_rng(seed)

    def train(model: dict[str, Any]) -> int:
        model["w"] += chance.normal(0, 0.01, model["w"].shape).astype(np.float32)
        return 1

    return train


def peer(swarm: SimulatedSwarm, name: str, *, lineage: bytes = LINEAGE, rows: int = 40, **settings: Any) -> SimulatedPeer:
    made = swarm.peer(name, {"w": fresh(rows)}, drifting(len(name) + ord(name[-1])), settings=settings)
    made.trainer.progress = attrs.evolve(made.trainer.progress, lineage=lineage)
    return made


def needed(one: SimulatedPeer) -> set[Cid]:
    return {Cid(root) for item in one.history.published() for root in item.needs.split()}


def roots_of(swarm: SimulatedSwarm, one: SimulatedPeer) -> set[Cid]:
    return {root for owner, root in swarm.shared(MemoryStore).roots if owner == one.peer}


def builders(one: SimulatedPeer) -> Iterator[tuple[int, int]]:
    """For each version that it keeps, its number and on how many others it builds."""
    return ((item.number, len(item.needs.split())) for item in reversed(one.history.published()))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("private", [False, True])
async def test_peers_merge_what_is_encoded_beside_a_base(tmp_path: Path, codec: str, private: bool) -> None:
    async with SimulatedSwarm(folder=tmp_path, private=private, settings={"codec": {"use": codec, "versions": 5}}) as swarm:
        a, b = peer(swarm, "a"), peer(swarm, "b")
        start(a, b)
        await trio.sleep(30)
        assert len(merged_of(a, b)) > 20 and len(merged_of(b, a)) > 20
        assert not [verdict.reason for one in (a, b) for verdict in verdicts(one) if not verdict.merged]
        apart = np.abs(a.trainer.model["w"] - b.trainer.model["w"]).mean()
        assert apart < 0.05, "of 30 steps of 0.01 each"


async def test_bases_lie_in_folders_too(tmp_path: Path) -> None:
    settings = {"codec": {"use": "sparse", "versions": 5}, "storage": {"use": "directory"}}
    async with SimulatedSwarm(folder=tmp_path, settings=settings) as swarm:
        a, b = peer(swarm, "a"), peer(swarm, "b")
        start(a, b)
        await trio.sleep(12)
        assert len(merged_of(a, b)) > 5 and len(merged_of(b, a)) > 5
        assert not [verdict.reason for one in (a, b) for verdict in verdicts(one) if not verdict.merged]


async def test_a_base_serves_as_many_versions_as_the_file_says(tmp_path: Path) -> None:
    settings = {"codec": {"use": "int4-delta", "versions": 4}, "node": {"fetch_seconds": 100.0}}
    async with SimulatedSwarm(folder=tmp_path, settings=settings) as swarm:
        a = peer(swarm, "a").start()
        await trio.sleep(10.5)
        assert [count for _, count in builders(a)] == [0, 1, 1, 1, 0, 1, 1, 1, 0, 1]


async def test_a_base_is_kept_as_long_as_a_kept_version_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learnae.node.retention.AGAIN_SECONDS", 5.0)
    settings = {"codec": {"use": "int4-delta", "versions": 10}, "node": {"fetch_seconds": 0.1}}
    async with SimulatedSwarm(folder=tmp_path, settings=settings) as swarm:
        a = peer(swarm, "a").start()
        for _ in range(35):
            await trio.sleep(1)
            assert needed(a) <= roots_of(swarm, a), "what a kept version builds on is there"
        assert len(roots_of(swarm, a)) <= 3 + 2, "the newest three, and their bases"


async def test_after_a_restart_the_first_version_is_whole_and_the_old_base_is_still_there(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path, settings={"codec": {"use": "int4-delta"}}) as swarm:
        a = peer(swarm, "a").start()
        await trio.sleep(5)
        a.kill_node()
        old = needed(a)
        assert old
        a.start_node()
        await trio.sleep(1.5)
        assert a.history.published()[0].needs == ""
        assert old <= roots_of(swarm, a)


@pytest.mark.parametrize("codec", CODECS)
async def test_a_newcomer_adopts_a_model_that_has_a_base(tmp_path: Path, codec: str) -> None:
    async with SimulatedSwarm(folder=tmp_path, settings={"codec": {"use": codec, "versions": 50}}) as swarm:
        a = peer(swarm, "a", lineage=b"").start()
        await trio.sleep(20)
        newcomer = peer(swarm, "newcomer", lineage=b"")
        newcomer.trainer.model["w"][:] = 9.0
        newcomer.start()
        await trio.sleep(10)
        assert newcomer.lineage == a.lineage
        assert np.abs(newcomer.trainer.model["w"] - a.trainer.model["w"]).max() < 0.5, "no value is left of its own"


async def test_what_builds_on_a_missing_base_is_fetched_in_vain_and_nobody_is_refused(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path, settings={"codec": {"use": "int4-delta", "versions": 8}}) as swarm:
        a = peer(swarm, "a").start()
        await trio.sleep(2.5)
        [base] = needed(a)
        swarm.shared(MemoryStore).drop(a.peer, base)
        b = peer(swarm, "b").start()
        await trio.sleep(4)
        assert {verdict.stage for verdict in verdicts(b)} == {"fetch"}
        await trio.sleep(60)
        assert len(merged_of(b, a)) > 3, "the next base came"
        assert not b.node.receiver.peers.get(a.peer).refused


async def test_a_reader_fetches_a_base_once(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path, settings={"codec": {"use": "int4-delta", "versions": 1000}}) as swarm:
        a, b = peer(swarm, "a"), peer(swarm, "b")
        start(a, b)
        await trio.sleep(20)
        fetched = [report.fetched_bytes for report in b.trainer.reports if report.merged]
        assert max(fetched[3:]) < 1300, "half a byte for each of 1,200 values, and the meta"


async def test_what_a_reader_holds_in_memory_is_bounded(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path, settings={"codec": {"use": "int4-delta", "versions": 2}}) as swarm:
        a, b = peer(swarm, "a"), peer(swarm, "b")
        start(a, b)
        b.node.rounds.fetches.obtainer.held.most_bytes = 8000  # two bases of 2,400 bytes and their meta
        await trio.sleep(30)
        assert 0 < b.node.rounds.fetches.obtainer.held.held_bytes <= 8000
        assert len(merged_of(b, a)) > 20


async def test_a_keeper_keeps_what_an_update_builds_on_and_drops_it_with_the_last_one(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        a = peer(swarm, "a", codec={"use": "int4-delta", "versions": 12})
        settings = {"peer": {"role": "keeper"}}
        store = swarm.peer("keeper", {}, lambda model: 0, round_seconds=lambda: 1e6, settings=settings)
        start(store, a)
        seen = set[Cid]()
        for _ in range(60):
            await trio.sleep(1)
            kept = store.node.keeping.kept
            seen.update(map(Cid, kept.needed))
            assert set(kept.needed) | set(kept.items) == roots_of(swarm, store)
        assert len(seen) > 2
        a.trainer.round_seconds = lambda: 1e6
        await trio.sleep(20)  # the keeper fetches the last version
        a.kill()
        for owner, root in list(swarm.shared(MemoryStore).roots):
            if owner == a.peer:
                swarm.shared(MemoryStore).drop(owner, root)
        newcomer = peer(swarm, "newcomer", lineage=b"", join={"wait_seconds": 100.0}).start()
        await trio.sleep(200)
        assert newcomer.lineage == LINEAGE, "the keeper alone has the model, with its base"


async def test_a_relay_carries_what_an_update_builds_on() -> None:
    async with opened(codec={"use": "int4-delta", "versions": 6}) as world:
        peers = []
        for name, sides in (("left", ("left",)), ("right", ("right",)), ("relay", ("left", "right"))):
            one = world.peer(name, 1.0, sides, sides, **({"relay": True} if name == "relay" else {}))
            one.trainer.model = {"w": fresh(40)}
            one.trainer.train = drifting(len(name))
            peers.append(one.start())
            await trio.sleep(0.2)
        await trio.sleep(60)
        left, right, relay = peers
        assert len(merged_of(left, right)) > 5 and len(merged_of(right, left)) > 5
        carried = relay.node.relay.block_relay.carried
        assert all(set(item.needs) <= set(carried) for item in carried.values())
        assert len(carried) < 2 * (2 + 4 + 3)


async def test_the_last_version_and_its_chain_are_what_others_decode(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path, settings={"codec": {"use": "int4-delta", "versions": 9}}) as swarm:
        a, b = peer(swarm, "a"), peer(swarm, "b")
        start(a, b)
        await trio.sleep(12)
        own, held = a.node.publisher.base, b.node.rounds.fetches.obtainer.held
        decoder = held.get(own.roots[-1])
        assert decoder is not None and len(list(chain(decoder))) == 1
        np.testing.assert_array_equal(decoder.decode("w").array, own.before.decode("w").array)


async def test_a_reader_of_a_chain_fetches_the_new_versions_alone_and_a_late_one_all_of_it(tmp_path: Path) -> None:
    settings = {"codec": {"use": "sparse", "versions": 30}, "node": {"fetch_seconds": 100.0}}
    async with SimulatedSwarm(folder=tmp_path, settings=settings) as swarm:
        a, b = peer(swarm, "a", rows=1000), peer(swarm, "b", rows=1000)
        start(a, b)
        await trio.sleep(8.5)
        fetched = [report.fetched_bytes for report in b.trainer.reports if report.merged]
        assert max(fetched[2:]) < 30_000 * 2 / 10, "a tenth of the values in four bits, and a meta that names the chain"
        late = peer(swarm, "late", rows=1000).start()
        await trio.sleep(4)
        assert merged_of(late, a)
        assert len(a.history.published()[0].needs.split()) > 5
        assert not [verdict.reason for one in (a, b, late) for verdict in verdicts(one) if not verdict.merged]


async def test_a_chain_ends_before_it_takes_more_than_twice_its_base(tmp_path: Path) -> None:
    settings = {"codec": {"use": "sparse", "share": 0.5, "versions": 60}, "node": {"fetch_seconds": 100.0}}
    async with SimulatedSwarm(folder=tmp_path, settings=settings) as swarm:
        a = peer(swarm, "a").start()
        await trio.sleep(12.5)
        sizes = [item.bytes for item in reversed(a.history.published())]
        whole = [at for at, (_, count) in enumerate(builders(a)) if count == 0]
        assert len(whole) > 1
        for begin, end in itertools.pairwise(whole):
            assert sum(sizes[begin : end - 1]) <= 2 * sizes[begin]
