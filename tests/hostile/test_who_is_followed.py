"""One liar with an established lineage and the smallest hash leads nobody away from several, and models that never come cost little."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
import trio

from learnae.content.cids import dag_cid
from learnae.node.lineage_search import LANES, SearchMisses
from learnae.records import Cid, Encoded, TensorSpec
from learnae.testing.swarm import MemoryTrainer
from tests.support.hostile.missing_blocks import Silent, Trapped
from tests.support.simulated import LINEAGE

pytestmark = pytest.mark.virtual_time

SMALLEST, LARGEST = b"\0" * 8, b"\xff" * 8


TRAPPED: Any = {"strategies": {"storage": {"trapped": Trapped}}, "storage": {"use": "trapped"}}


def peer_of(world: Any, name: str, *, lineage: bytes = b"", seconds: float = 1.0) -> Any:
    peer = world.swarm.peer(name, {"w": np.zeros(64, np.float32)}, lambda model: 1, round_seconds=lambda: seconds)
    peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=lineage)
    peer.start()
    return peer


async def lie(world: Any, lineages: list[bytes], *, there: bool = True) -> None:
    """Each of them established, announced by one stranger every second; their models are there, or are waited for in vain."""
    strangers = [world.stranger() for _ in lineages]
    for number in range(1, 1000):
        for stranger, lineage in zip(strangers, lineages, strict=True):
            root = dag_cid(f"{stranger.peer} {number}".encode())
            if there:
                root = stranger.store(stranger.pack(number=number)).root
            else:
                world.swarm.shared(Silent).add(root)
            stranger.say(stranger.update(root, lineage=lineage, provisional=False), number)
        await trio.sleep(1)


async def two_apart(world: Any) -> tuple[Any, Any, Callable[[], None]]:
    """A founder of a lineage, a peer that has founded another meanwhile, and what lets them hear each other."""
    reached: list[bool] = []
    world.swarm.medium.reaches = lambda sender, receiver: bool(reached)
    founder, provisional = peer_of(world, "founder", lineage=b"\x01" * 8), peer_of(world, "provisional")
    await trio.sleep(4)
    return founder, provisional, lambda: reached.append(True)


def went(peer: Any) -> list[str]:
    return [outcome for outcome in peer.trainer.adopted_outcomes if outcome != "merged"]


@pytest.mark.parametrize(("seconds", "voices"), [(1.0, 1), (1.0, 3), (7.0, 1)])
async def test_newcomers_go_where_most_are_not_to_the_smallest_hash(a_world, seconds, voices):
    async with a_world(**TRAPPED) as world:
        for index in range(5):
            peer_of(world, f"p{index}", lineage=LINEAGE, seconds=seconds + index / 10)
        world.swarm.nursery.start_soon(lie, world, [SMALLEST] * voices)
        await trio.sleep(seconds + 2)
        newcomers = [peer_of(world, f"newcomer {index}") for index in range(5)]
        await trio.sleep(7 + seconds)  # rounds of seven seconds are longer than a newcomer listens
    for newcomer in newcomers:
        assert (newcomer.lineage, went(newcomer)) == (LINEAGE, ["joined"])


@pytest.mark.parametrize("on_split", ["report", "yield"])
async def test_nobody_established_and_nobody_provisional_leaves_several_for_one_voice(a_world, on_split):
    async with a_world(**TRAPPED, join={"on_split": on_split, "settle_rounds": 5}) as world:
        established = [peer_of(world, f"p{index}", lineage=LINEAGE) for index in range(2)]
        await trio.sleep(4)
        provisional = peer_of(world, "provisional")
        await trio.sleep(4)
        joined = went(provisional)
        world.swarm.nursery.start_soon(lie, world, [SMALLEST])
        await trio.sleep(30)
        peers = [*established, provisional]
    assert joined == ["joined"]
    assert {peer.lineage for peer in peers} == {LINEAGE}
    assert all("yielded" not in went(peer) and "moved" not in went(peer) for peer in peers)


async def test_who_heard_a_liar_first_goes_over_to_the_many_when_they_are_heard(a_world):
    async with a_world(**TRAPPED) as world:
        reached = [False]
        honest = [peer_of(world, f"p{index}", lineage=LINEAGE) for index in range(5)]
        world.swarm.medium.reaches = lambda sender, receiver: reached[0] or sender not in {peer.peer for peer in honest}
        world.swarm.nursery.start_soon(lie, world, [SMALLEST])
        await trio.sleep(3)
        newcomer = peer_of(world, "newcomer")
        await trio.sleep(4)
        first = newcomer.lineage
        reached[0] = True
        await trio.sleep(6)
        found = first, newcomer.lineage
    assert found == (SMALLEST, LINEAGE)


@pytest.mark.parametrize("fakes", [3, 10])
async def test_a_newcomer_loses_little_time_with_lineages_whose_models_never_come(a_world, fakes):
    """The honest one is heard from one peer alone, and has the largest hash."""

    async with a_world(**TRAPPED, node={"fetch_seconds": 10.0}) as world:
        peer_of(world, "founder", lineage=LARGEST)
        world.swarm.nursery.start_soon(lambda: lie(world, [bytes([index]) * 8 for index in range(fakes)], there=False))
        await trio.sleep(2)
        newcomer = peer_of(world, "newcomer")
        await trio.sleep(5.0 if fakes < LANES else 15.0)
        found = newcomer.lineage
    assert found == LARGEST


@pytest.mark.parametrize("fakes", [1, 5])
async def test_a_provisional_peer_finds_the_lineage_to_move_to_behind_those_whose_models_never_come(a_world, fakes):
    async with a_world(**TRAPPED) as world:
        founder, provisional, meet = await two_apart(world)
        own = provisional.lineage
        world.swarm.nursery.start_soon(lambda: lie(world, [bytes([0] * 7 + [index]) for index in range(fakes)], there=False))
        meet()
        await trio.sleep(15)
        wanted = founder.lineage
    assert own not in (b"", wanted)
    assert provisional.lineage == wanted
    assert went(provisional) == ["founded", "moved"]


def test_whoever_fails_to_bring_a_model_comes_after_those_that_were_not_tried_and_rests(run_world):
    misses = SearchMisses()
    misses.note(SMALLEST, 7)
    assert (misses.times(SMALLEST), misses.times(LINEAGE)) == (1, 0)
    assert [misses.rests(SMALLEST, round_) for round_ in (7, 8, 9)] == [True, True, False]
    for round_ in range(10):
        misses.note(SMALLEST, round_)
    assert not misses.rests(SMALLEST, 9 + 16)
    misses.keep({LINEAGE})
    assert misses.times(SMALLEST) == 0


async def test_one_identity_that_joins_a_lone_founder_leads_no_provisional_group_there(a_world):
    """It says that it is established, and there are five of them."""

    async with a_world(**TRAPPED, join={"settle_seconds": 30.0}) as world:
        apart, lone = [True], peer_of(world, "lone")
        world.swarm.medium.reaches = lambda sender, receiver: not apart[0] or (sender == lone.peer) == (receiver == lone.peer)
        provisional = [peer_of(world, "provisional 0")]
        await trio.sleep(3.2)
        provisional += [peer_of(world, f"provisional {index}") for index in range(1, 5)]
        await trio.sleep(4)
        before = {peer.lineage for peer in provisional}
        world.swarm.nursery.start_soon(lie, world, [lone.lineage])
        await trio.sleep(0.2)
        apart[0] = False
        await trio.sleep(6)
        after = {peer.lineage for peer in provisional}
    assert len(before) == 1
    assert after == before


async def test_a_search_that_is_kept_alive_leads_nobody_away_who_was_established_meanwhile(a_world):
    """Two identities announce another lineage every three seconds, whose models never come, and then one whose models do."""

    async with a_world(**TRAPPED) as world:
        honest = [peer_of(world, "h0")]
        await trio.sleep(3.2)
        honest.append(peer_of(world, "h1"))
        await trio.sleep(3)
        before = {peer.lineage for peer in honest}
        fakes = [world.stranger() for _ in range(2)]
        for number in range(1, 30):
            for fake in fakes:
                root = dag_cid(f"{fake.peer} {number}".encode())
                world.swarm.shared(Silent).add(root)
                fake.say(fake.update(root, lineage=(1000 - number // 3).to_bytes(8, "big"), provisional=False), number)
            await trio.sleep(1)
        provisional = [peer.node.lineage_state.provisional(trio.current_time()) for peer in honest]
        world.swarm.nursery.start_soon(lie, world, [SMALLEST] * 2)
        await trio.sleep(8)
        after = {peer.lineage for peer in honest}
    assert (len(before), provisional) == (1, [False, False])
    assert after == before


@pytest.mark.parametrize("changing", [False, True], ids=["one lineage", "always another one"])
async def test_a_model_that_comes_and_cannot_be_adopted_hides_no_other_lineage(a_world, changing):
    async with a_world(**TRAPPED, join={"settle_seconds": 30.0}) as world:
        founder, provisional, meet = await two_apart(world)
        own, liar = provisional.lineage, world.stranger()
        meet()
        nothing = Encoded(np.full(64, np.nan, "<f4").tobytes())
        for number in range(1, 16):
            root = liar.store(liar.pack([(TensorSpec(name="w", dtype="float32", shape=(64,)), nothing)], number=number)).root
            liar.say(liar.update(root, lineage=bytes(7) + bytes([number if changing else 0]), provisional=False), number)
            await trio.sleep(1)
        wanted = founder.lineage
    assert own not in (b"", wanted)
    assert (provisional.lineage, went(provisional)) == (wanted, ["founded", "moved"])


@pytest.mark.parametrize("liars", [1, 11, 12, 20])
async def test_a_newcomer_finds_the_honest_behind_models_that_come_and_cannot_be_adopted(a_world, liars):
    async def lie_worse(world: Any) -> None:
        strangers = [(world.stranger(), index.to_bytes(8, "big")) for index in range(1, liars + 1)]
        nothing = Encoded(np.full(64, np.nan, "<f4").tobytes())
        for number in range(1, 1000):
            for stranger, lineage in strangers:
                root = stranger.store(stranger.pack([(TensorSpec(name="w", dtype="float32", shape=(64,)), nothing)], number=number)).root
                stranger.say(stranger.update(root, lineage=lineage, provisional=False), number)
            await trio.sleep(1)

    async with a_world(**TRAPPED, node={"fetch_seconds": 10.0}) as world:
        peer_of(world, "honest", lineage=LARGEST)
        world.swarm.nursery.start_soon(lie_worse, world)
        await trio.sleep(2)
        newcomer = peer_of(world, "newcomer")
        await trio.sleep(15)
    assert (newcomer.lineage, went(newcomer)) == (LARGEST, ["joined"])


async def test_the_own_model_of_an_earlier_run_that_cannot_be_had_leaves_no_record_of_the_own_key(a_world):
    async with a_world(**TRAPPED, node={"fetch_seconds": 5.0}) as world:
        peer = peer_of(world, "peer")
        await trio.sleep(5)
        peer.kill()
        world.swarm.shared(Silent).update(Cid(item.root) for item in peer.history.published())
        peer.replace_trainer(
            MemoryTrainer(model={"w": np.zeros(64, np.float32)}, train=lambda model: 1, round_seconds=lambda: 1.0, run="again")
        )
        peer.start()
        await trio.sleep(60)
    assert peer.lineage
    assert peer.peer not in peer.history.peers()


@pytest.mark.parametrize("fakes", [6, 20])
async def test_models_that_never_come_in_the_lineage_of_the_honest_hold_a_newcomer_up_for_little(a_world, fakes):
    async with a_world(**TRAPPED, node={"fetch_seconds": 10.0}) as world:
        for index in range(3):
            peer_of(world, f"p{index}", lineage=LINEAGE)
        world.swarm.nursery.start_soon(lambda: lie(world, [LINEAGE] * fakes, there=False))
        await trio.sleep(3)
        newcomer = peer_of(world, "newcomer")
        await trio.sleep(6.0 if fakes < 10 else 10.0)
    assert (newcomer.lineage, went(newcomer)) == (LINEAGE, ["joined"])
