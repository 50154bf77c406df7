"""A swarm that sleeps: all trainers stop, a keeper remains, and whoever comes later goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import trio

from learnae.identity.envelopes import peek_envelope
from learnae.identity.swarms import swarm_id
from learnae.node.keeping import PAUSE_SECONDS
from learnae.plugins.memory import MemoryStore, Post
from learnae.records import AnnouncementKind, Present
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.support.simulated import merges, start, value

pytestmark = pytest.mark.virtual_time

HOUR = 3600.0
FORGETS_SECONDS = 600.0
ROUND_SECONDS = 5.0
MODEL = 4


def counting(model: dict[str, Any]) -> int:
    """Training that can be read off: each step adds one."""
    model["w"] += 1.0
    return 1


def trainer(swarm: SimulatedSwarm, name: str, round_seconds: float = ROUND_SECONDS) -> SimulatedPeer:
    return swarm.peer(name, {"w": np.zeros(MODEL, np.float32)}, counting, round_seconds=lambda: round_seconds)


def keeper(swarm: SimulatedSwarm, name: str = "keeper", **settings: Any) -> SimulatedPeer:
    """A peer without a model, whose trainer hands over nothing that anybody looks at."""
    return swarm.peer(name, {}, lambda model: 0, round_seconds=lambda: HOUR, settings={"peer": {"role": "keeper", **settings}})


def forget_old(swarm: SimulatedSwarm) -> None:
    """A medium that keeps messages for ten minutes."""
    newest, now = swarm.medium.newest, trio.current_time()
    for key in [key for key, post in newest.items() if now - post.seconds > FORGETS_SECONDS]:
        del newest[key]


def lose_disk(peer: SimulatedPeer) -> None:
    """The machine of this peer is off, with all that it has stored."""
    store = peer.swarm.shared(MemoryStore)
    for owner, root in list(store.roots):
        if owner == peer.peer:
            store.drop(owner, root)


async def end(*peers: SimulatedPeer) -> None:
    """They leave with a goodbye, and their machines are switched off."""
    for peer in peers:
        peer.trainer.disconnect()
    await trio.sleep(2 * PAUSE_SECONDS)
    for peer in peers:
        peer.kill()
        lose_disk(peer)


async def sleep_long(swarm: SimulatedSwarm, seconds: float = HOUR) -> None:
    for _ in range(int(seconds // 60)):
        await trio.sleep(60)
        forget_old(swarm)


def kept_by(peer: SimulatedPeer) -> dict[str, int]:
    """The numbers of the newest updates that it has kept, by peer."""
    return {item.peer: item.number for item in peer.node.keeping.kept.newest().values()}


async def fallen_asleep(swarm: SimulatedSwarm, *names: str, kept: bool = True) -> tuple[bytes, float]:
    """Trainers of these names train for two minutes and leave; an hour passes. Returns their lineage, and what the first had learned."""
    trainers = [trainer(swarm, name) for name in names]
    start(*([keeper(swarm)] if kept else []), *trainers)
    await trio.sleep(120)
    lineage, trained = trainers[0].lineage, value(trainers[0])
    await end(*trainers)
    await sleep_long(swarm)
    return lineage, trained


@pytest.fixture
def swarm_of(tmp_path: Path) -> Callable[..., SimulatedSwarm]:
    return lambda **how: SimulatedSwarm(folder=tmp_path, **how)


async def test_an_hour_later_a_newcomer_goes_on_from_the_last_model(swarm_of) -> None:
    async with swarm_of() as swarm:
        lineage, trained = await fallen_asleep(swarm, "a", "b")
        late = trainer(swarm, "late").start()
        await trio.sleep(20)
        assert late.lineage == lineage
        assert late.trainer.progress.age > 20
        assert late.trainer.adopted_outcomes[0] == "joined"
        assert value(late) > trained - 4


async def test_without_the_keeper_it_would_have_begun_anew(swarm_of) -> None:
    async with swarm_of() as swarm:
        lineage, _ = await fallen_asleep(swarm, "a", "b", kept=False)
        late = trainer(swarm, "late").start()
        await trio.sleep(20)
        assert late.lineage not in (b"", lineage)


@pytest.mark.parametrize("private", [False, True])
async def test_several_that_come_back_at_once_stay_together(swarm_of, private: bool) -> None:
    async with swarm_of(private=private) as swarm:
        swarm.medium.delay = lambda rng: 0.2 * rng.random()
        lineage, _ = await fallen_asleep(swarm, "a", "b")
        crowd = [trainer(swarm, f"late-{number}") for number in range(5)]
        start(*crowd)
        await trio.sleep(30)
        assert {peer.lineage for peer in crowd} == {lineage}
        assert all(peer.trainer.progress.age > 20 for peer in crowd)


async def test_newcomers_wait_for_a_keeper_on_a_slow_medium(swarm_of) -> None:
    """The presence of the keeper comes in time, and what it has kept does not."""
    async with swarm_of() as swarm:
        first, store = trainer(swarm, "a"), keeper(swarm)
        start(store, first)
        await trio.sleep(120)
        lineage = first.lineage
        await end(first)
        await sleep_long(swarm)
        late, newest = trainer(swarm, "late"), swarm.medium.newest
        held = {key: post for key, post in newest.items() if peek_envelope(post.message, swarm_id("default")).peer == first.peer}
        for key in held:
            del newest[key]
        late.start()
        await trio.sleep(5)
        assert held and not late.lineage
        for key, post in held.items():
            swarm.medium.send(post.sender, key, post.message)
        await trio.sleep(20)
        assert late.lineage == lineage


async def test_a_keeper_that_was_killed_goes_on_with_what_it_kept(swarm_of) -> None:
    async with swarm_of() as swarm:
        first, store = trainer(swarm, "a"), keeper(swarm)
        start(store, first)
        await trio.sleep(60)
        lineage = first.lineage
        await end(first)
        before = kept_by(store)
        store.kill_node()
        swarm.medium.newest.clear()
        await trio.sleep(600)
        store.start_node()
        await trio.sleep(60)
        assert kept_by(store) == before != {}
        late = trainer(swarm, "late").start()
        await trio.sleep(20)
        assert late.lineage == lineage


async def test_what_is_kept_lies_in_the_storages_and_what_was_displaced_does_not(swarm_of) -> None:
    async with swarm_of() as swarm:
        first, store = trainer(swarm, "a"), keeper(swarm)
        start(store, first)
        await trio.sleep(120)
        stored = {root for owner, root in swarm.shared(MemoryStore).roots if owner == store.peer}
        assert stored == set(store.node.keeping.kept.items)
        assert len(stored) == 2


async def test_a_keeper_says_that_it_is_one_and_publishes_nothing(swarm_of) -> None:
    async with swarm_of() as swarm:
        first, store = trainer(swarm, "a"), keeper(swarm)
        start(store, first)
        await trio.sleep(60)
        entries = first.node.receiver.inbox.known[store.peer].entries
        assert set(entries) == {AnnouncementKind.PRESENT}
        present = entries[AnnouncementKind.PRESENT].announcement.body
        assert isinstance(present, Present) and present.role == "keeper"


async def test_a_keeper_does_not_speak_for_those_who_are_there(swarm_of) -> None:
    """A trainer hears of another only what that one has said itself, while it is there."""
    async with swarm_of() as swarm:
        first, second, store = trainer(swarm, "a"), trainer(swarm, "b"), keeper(swarm)
        start(store, first, second)
        await trio.sleep(700)
        senders = {post.sender for key, post in swarm.medium.newest.items() if post.sender == store.peer}
        keys = [key for key, post in swarm.medium.newest.items() if post.sender == store.peer]
        assert senders == {store.peer}
        assert len(keys) == 1  # its presence


async def test_a_peer_that_comes_back_is_not_said_to_have_left(swarm_of) -> None:
    async with swarm_of() as swarm:
        first, store = trainer(swarm, "a"), keeper(swarm)
        start(store, first)
        await trio.sleep(60)
        await end(first)
        await sleep_long(swarm, 900)
        again = attrs.evolve(first, trainer=trainer(swarm, "a").trainer)
        again.start()
        other = trainer(swarm, "b").start()
        await trio.sleep(700)
        assert not other.node.receiver.inbox.known[first.peer].silent
        assert all(not item.goodbye for item in store.node.keeping.kept.newest().values() if item.peer == first.peer)


def published_by(peer: SimulatedPeer) -> int:
    """The number of its newest update."""
    return max(item.number for item in peer.node.history.published())


async def until_behind(store: SimulatedPeer, *peers: SimulatedPeer) -> None:
    """Until the keeper has something of all of them, and the last update of none."""
    while not all(0 < kept_by(store).get(peer.peer, 0) < published_by(peer) for peer in peers):  # noqa: ASYNC110  # of a node
        await trio.sleep(0.1)


async def three_that_train(swarm: SimulatedSwarm, store: SimulatedPeer) -> tuple[list[SimulatedPeer], bytes]:
    """Three trainers, a minute after their start beside this keeper, and their lineage."""
    founders = [trainer(swarm, name, 2.0) for name in "abc"]
    start(store, *founders)
    await trio.sleep(60)
    return founders, founders[0].lineage


async def until_heard_of_more(store: SimulatedPeer, *peers: SimulatedPeer) -> None:
    """Until the keeper has something of all of them, and does not fetch yet what it has heard of since."""

    def behind(peer: SimulatedPeer) -> bool:
        entry = store.node.receiver.inbox.get(peer.peer, AnnouncementKind.UPDATE)
        return entry is not None and 0 < kept_by(store).get(peer.peer, 0) < entry.announcement.number

    seen = 0
    while seen < 3:
        seen = seen + 1 if all(behind(peer) for peer in peers) else 0
        await trio.sleep(0.1)


async def test_where_all_trainers_vanish_with_their_last_updates_a_newcomer_goes_on_from_older_ones(swarm_of) -> None:
    async with swarm_of() as swarm:
        store = keeper(swarm)
        founders, lineage = await three_that_train(swarm, store)
        with trio.fail_after(60):
            await until_behind(store, *founders)
        for peer in founders:
            peer.kill()
            lose_disk(peer)
        await sleep_long(swarm)
        late = trainer(swarm, "late").start()
        await trio.sleep(30)
        assert late.lineage == lineage
        assert late.trainer.progress.age > 10


def show_again(swarm: SimulatedSwarm, posts: list[Post], *, first: bool) -> None:
    """A folder keeps a message of each sender for a place, so the owner's own beside the one that a keeper has repeated there."""
    later = 0 if first else 1_000_000
    for post in posts:
        key = post.key[0], b"own " + post.key[1]
        swarm.medium.newest[key] = attrs.evolve(post, key=key, number=post.number + later, seconds=0.0 if first else trio.current_time())


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("goodbye", [False, True])
async def test_a_newcomer_that_heard_of_last_updates_that_nobody_has_goes_on_from_those_that_are_kept(swarm_of, first, goodbye) -> None:
    async with swarm_of() as swarm:
        store = keeper(swarm)
        founders, lineage = await three_that_train(swarm, store)
        all_peers = {peer.peer for peer in founders}
        with trio.fail_after(60):
            await until_heard_of_more(store, *founders)
        for peer in founders:
            lose_disk(peer)
            if goodbye:
                peer.trainer.disconnect()
        await trio.sleep(0.1)
        last = [post for post in swarm.medium.newest.values() if post.sender in all_peers]
        for peer in founders:
            peer.kill()
        await trio.sleep(900)
        show_again(swarm, last, first=first)
        late = trainer(swarm, "late").start()
        await trio.sleep(30)
        assert late.lineage == lineage
        assert late.trainer.progress.age > 10
        assert late.trainer.adopted_outcomes.count("joined") == 1
        assert merges(late) == 0


async def test_the_last_update_of_who_says_goodbye_is_fetched_at_once(swarm_of) -> None:
    async with swarm_of() as swarm:
        first, store = trainer(swarm, "a", 2.0), keeper(swarm)
        start(store, first)
        await trio.sleep(30)
        with trio.fail_after(60):
            while kept_by(store).get(first.peer) != published_by(first):  # noqa: ASYNC110  # of a node
                await trio.sleep(0.1)
            await until_behind(store, first)
        first.trainer.disconnect()
        await trio.sleep(1.5)
        assert kept_by(store)[first.peer] == published_by(first)
