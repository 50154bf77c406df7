"""Rows of data go from those who give them to those who take them, and to nobody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import numpy as np
import pytest
import trio

from learnae.data.own import OwnSlices
from learnae.data.pool import Pool
from learnae.data.trained_on import told
from learnae.errors import UnavailableError
from learnae.node.slice_catalogue import SliceOffer
from learnae.node.slice_fetching import SliceFetches
from learnae.plugins.memory import Key, MemoryMedium, MemoryStorage, MemoryStore
from learnae.records import Block, Cid, PeerId
from learnae.sketches import difference
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.support.breakable_storage import Gauge
from tests.support.rows import QUOTA, SHARES, TAKES, digits, give, home_of, labels_in_pool, pool_of, with_rows
from tests.support.simulated import LINEAGE, merges, offering, start

pytestmark = pytest.mark.virtual_time


def stored_by(peer: SimulatedPeer) -> set[str]:
    """The roots that it has put into its storages."""
    return {root for owner, root in peer.swarm.shared(MemoryStore).roots if owner == peer.peer}


def slices_kept(peer: SimulatedPeer) -> set[str]:
    return stored_by(peer) & set(OwnSlices(home_of(peer)).roots())


async def test_what_one_peer_gives_fills_the_pool_of_another(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, taker = with_rows(swarm, "a", digits((1, 2)), SHARES), with_rows(swarm, "b", digits((3, 4)), TAKES)
        give(giver, digits((1, 2)), most_rows=5)
        start(giver, taker)
        await trio.sleep(60)
        pool = pool_of(taker)
        assert sum(one.rows for one in pool) == 20
        assert {one.providers for one in pool} == {(giver.peer,)}
        assert not pool_of(giver)


async def test_rows_given_later_come_later(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, taker = with_rows(swarm, "a", digits((1,)), SHARES), with_rows(swarm, "b", digits((3,)), TAKES)
        start(giver, taker)
        await trio.sleep(30)
        assert not pool_of(taker)
        give(giver, digits((1,)))
        await trio.sleep(60)
        assert labels_in_pool(taker) == {"1"}


async def test_a_newcomer_gets_what_was_announced_before_it_came(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, taker = with_rows(swarm, "a", digits((1,)), SHARES), with_rows(swarm, "b", digits((3,)), TAKES)
        give(giver, digits((1,), count=40), most_rows=10)
        giver.start()
        await trio.sleep(300)
        taker.start()
        await trio.sleep(60)
        assert len(pool_of(taker)) == 4


async def test_what_is_not_given_any_more_leaves_the_storages(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver = with_rows(swarm, "a", digits((1,)), SHARES).start()
        give(giver, digits((1,)))
        await trio.sleep(30)
        assert slices_kept(giver)
        before = stored_by(giver)
        (root,) = OwnSlices(home_of(giver)).roots()
        OwnSlices(home_of(giver)).clear()
        await trio.sleep(30)
        assert root in before
        assert root not in stored_by(giver)


async def test_a_peer_that_is_killed_gives_the_same_again(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, taker = with_rows(swarm, "a", digits((1,)), SHARES), with_rows(swarm, "b", digits((3,)), TAKES)
        give(giver, digits((1,)))
        giver.start()
        await trio.sleep(30)
        giver.kill_node()
        giver.start_node()
        await trio.sleep(30)
        assert slices_kept(giver)
        taker.start()
        await trio.sleep(60)
        assert labels_in_pool(taker) == {"1"}


class Far(MemoryStorage):
    """Its reads fail while the medium is out of order; what is put lies there."""

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        if self.context.share(Gauge).broken:
            raise UnavailableError("out of reach", list(cids))
        await super().get(cids, deliver, hints=hints)


async def test_after_an_outage_rows_come_as_soon_as_updates_do(tmp_path: Path) -> None:
    """By then a giver waits for two minutes more, since its slices have failed for the third time after 95 seconds."""
    async with SimulatedSwarm(folder=tmp_path, settings={"storage": {"use": "far"}}, manager=offering({"storage": {"far": Far}})) as swarm:
        giver, taker = with_rows(swarm, "a", digits((1,)), SHARES), with_rows(swarm, "b", digits((3,)), TAKES)
        give(giver, digits((1,)))
        for peer in (giver, taker):
            peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=LINEAGE)
        swarm.shared(Gauge).broken = True
        start(giver, taker)
        await trio.sleep(100)
        swarm.shared(Gauge).broken = False
        assert not pool_of(taker)
        await trio.sleep(90)
        assert merges(taker)
        assert labels_in_pool(taker) == {"1"}


async def test_a_giver_whose_updates_come_and_whose_slices_do_not_waits_longer_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    async def nothing(self: SliceFetches, offer: SliceOffer, *_: object) -> None:
        asked.append(trio.current_time())
        raise UnavailableError("never there", [offer.slice.root])

    monkeypatch.setattr(SliceFetches, "_obtain", nothing)
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver = with_rows(swarm, "a", digits((1,)), SHARES, round_seconds=10.0)
        taker = with_rows(swarm, "b", digits((3,)), TAKES, round_seconds=10.0)
        give(giver, digits((1,)))
        start(giver, taker)
        await trio.sleep(300)
        assert merges(taker) > 20
        assert len(asked) == 4, "after 30, 60 and 120 seconds"


@pytest.mark.parametrize("settings", [{}, TAKES, {"swarm": {"weights_only": True}}], ids=["default", "takes", "weights-only"])
async def test_without_consent_no_row_leaves_though_there_are_some_to_give(tmp_path: Path, sent: list[bytes], settings: dict) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peer = with_rows(swarm, "a", digits((1,)), SHARES)
        give(peer, digits((1,), count=20))
        peer.settings = settings
        rows = digits((1,), count=20)
        needles = [rows["x"][0].tobytes()[:16], rows["x"][7].tobytes()[:16]]
        peer.start()
        await trio.sleep(120)
        assert peer.trainer.reports
        assert len(sent) > 10
        assert not [one for one in sent if any(needle in one for needle in needles)]
        assert not slices_kept(peer)


async def test_with_consent_the_same_look_finds_the_rows(tmp_path: Path, sent: list[bytes]) -> None:
    """Otherwise the test before would prove nothing."""
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peer = with_rows(swarm, "a", digits((1,)), SHARES)
        give(peer, digits((1,), count=20))
        peer.start()
        await trio.sleep(120)
        assert any(digits((1,), count=20)["x"][0].tobytes()[:16] in one for one in sent)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """All messages and blocks that anybody sends, as they go out."""
    sent: list[bytes] = []
    send, put = MemoryMedium.send, MemoryStore.put

    def sending(medium: MemoryMedium, sender: PeerId, key: Key, message: bytes) -> None:
        sent.append(message)
        send(medium, sender, key, message)

    def putting(store: MemoryStore, peer: PeerId, root: Cid, blocks: dict[Cid, bytes]) -> None:
        sent.extend(blocks.values())
        put(store, peer, root, blocks)

    monkeypatch.setattr(MemoryMedium, "send", sending)
    monkeypatch.setattr(MemoryStore, "put", putting)
    return sent


async def test_a_peer_that_takes_nothing_fetches_nothing(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, other = with_rows(swarm, "a", digits((1,)), SHARES), with_rows(swarm, "b", digits((3,)), {})
        give(giver, digits((1,)))
        start(giver, other)
        await trio.sleep(60)
        assert not pool_of(other)


async def test_a_peer_that_does_not_know_what_it_trains_on_fetches_nothing(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, taker = with_rows(swarm, "a", digits((1,)), SHARES), with_rows(swarm, "b", digits((3,)), TAKES)
        (home_of(taker) / "data" / "trained_on.json").unlink()
        assert told(home_of(taker)) is None
        give(giver, digits((1,)))
        start(giver, taker)
        await trio.sleep(60)
        assert not pool_of(taker)


async def test_the_rarest_labels_come_first(tmp_path: Path) -> None:
    """The taker has many rows of 1 and none of 7, and begins when it has heard of all."""
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, taker = with_rows(swarm, "a", digits((1,)), SHARES), with_rows(swarm, "b", digits((1,), count=50), TAKES)
        ones, sevens = digits((1,), count=50, seed=3), digits((7,), count=20, seed=4)
        give(giver, {name: np.concatenate([ones[name], sevens[name]]) for name in ones}, most_rows=10)
        told_later = home_of(taker) / "data" / "trained_on.json"
        aside = told_later.rename(told_later.with_suffix(".aside"))
        start(giver, taker)
        await trio.sleep(60)
        aside.rename(told_later)
        await trio.sleep(30)
        pool = pool_of(taker)
        assert len(pool) == 7
        assert [dict(one.labels) for one in pool[:2]] == [{"7": 10}] * 2


async def test_the_pool_of_a_sealed_swarm_fills_too(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path, private=True) as swarm:
        giver, taker = with_rows(swarm, "a", digits((1,)), SHARES), with_rows(swarm, "b", digits((3,)), TAKES)
        give(giver, digits((1,)))
        start(giver, taker)
        await trio.sleep(60)
        assert labels_in_pool(taker) == {"1"}


async def test_a_forgotten_peer_fills_no_pool_again(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, taker = with_rows(swarm, "a", digits((1,)), SHARES), with_rows(swarm, "b", digits((3,)), TAKES)
        give(giver, digits((1,)))
        start(giver, taker)
        await trio.sleep(60)
        assert pool_of(taker)
        Pool(home_of(taker), QUOTA).forget(giver.peer)
        give(giver, digits((1,), seed=9))
        await trio.sleep(120)
        assert not pool_of(taker)


async def test_the_planner_merges_models_and_fills_the_pool(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver = with_rows(swarm, "a", digits((1, 2)), SHARES)
        taker = with_rows(swarm, "b", digits((3,)), {**TAKES, "selector": {"use": "planner"}})
        give(giver, digits((1, 2)), most_rows=5)
        start(giver, taker)
        await trio.sleep(120)
        assert sum(one.rows for one in pool_of(taker)) == 20
        assert merges(taker) > 5


async def test_who_else_gives_a_slice_is_noted_once_it_has_proved_itself(tmp_path: Path) -> None:
    """Both give the same rows: one fills the pool, the other one is noted after an update of it was merged."""
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        rows = digits((3, 4))
        givers = [with_rows(swarm, name, rows, SHARES) for name in ("one", "two")]
        taker = with_rows(swarm, "taker", digits((1, 2)), TAKES)
        for giver in givers:
            give(giver, rows)
        start(*givers, taker)
        await trio.sleep(120)
        (slice_,) = pool_of(taker)
        assert set(slice_.providers) == {giver.peer for giver in givers}


async def test_each_update_has_a_sketch_by_which_a_selector_sees_how_different_a_model_is(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        one, two = (with_rows(swarm, name, digits((1,)), {}) for name in ("a", "bb"))
        start(one, two)
        await trio.sleep(20)
        assert one.node is not None
        selection = one.node.rounds.selection
        (theirs,) = [entry.update.sketch for entry in selection.inbox.updates() if entry.peer == two.peer]
        found = difference(selection.own_sketch(), theirs)
        assert found is not None and 0.0 < found < 1.0


@pytest.mark.parametrize("changed", [{"share_rows": 10}, {"licence": "CC-BY-4.0"}, {"source": "elsewhere"}])
async def test_rows_that_an_earlier_consent_gave_stay_here_until_those_of_the_new_one_are_chosen(tmp_path: Path, changed: dict) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver = with_rows(swarm, "a", digits((1,)), SHARES)
        taker = with_rows(swarm, "b", digits((3,)), TAKES)
        give(giver, digits((1,)))
        giver.settings = {"data": {**SHARES["data"], **changed}}
        start(giver, taker)
        await trio.sleep(60)
        assert not pool_of(taker)
        give(giver, digits((1,)))
        await trio.sleep(60)
        assert pool_of(taker)
