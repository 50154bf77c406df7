"""Models in the lineage of the honest that come and cannot be adopted, or all but the end of them, write off no good ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
import trio

from learnae.records import Encoded, TensorSpec
from tests.support.hostile.missing_blocks import Silent, Trapped

LINEAGE, SMALLEST, OTHER = b"lineage1", b"\0" * 8, b"\xff" * 8
SPEC = TensorSpec(name="w", dtype="float32", shape=(64,))
Lie = Callable[[Any, Any, int, bytes], None]


def run_with(run_world: Any, main: Any, **settings: Any) -> Any:
    trapped = {"strategies": {"storage": {"trapped": Trapped}}, "storage": {"use": "trapped"}}
    return run_world(main, node={"fetch_seconds": 10.0}, **trapped, **settings)


def peer_of(world: Any, name: str, *, lineage: bytes = b"") -> Any:
    peer = world.swarm.peer(name, {"w": np.zeros(64, np.float32)}, lambda model: 1, round_seconds=lambda: 1.0)
    peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=lineage)
    peer.start()
    return peer


def not_finite(world: Any, stranger: Any, number: int, lineage: bytes) -> None:
    root = stranger.store(stranger.pack([(SPEC, Encoded(np.full(64, np.nan, "<f4").tobytes()))], number=number)).root
    stranger.say(stranger.update(root, lineage=lineage), number)


def all_but_the_end(world: Any, stranger: Any, number: int, lineage: bytes) -> None:
    values = np.random.default_rng(number).bytes(128) + stranger.peer[:64].encode() * 2
    packed = stranger.store(stranger.pack([(SPEC, Encoded(values))], number=number))
    world.swarm.shared(Silent).add([block.cid for block in packed.blocks if block.cid != packed.root][-1])
    stranger.say(stranger.update(packed.root, lineage=lineage), number)


def good(world: Any, stranger: Any, number: int, lineage: bytes) -> None:
    stranger.say(stranger.update(stranger.store(stranger.pack(number=number)).root, lineage=lineage), number)


async def lie(world: Any, lies: list[tuple[Lie, bytes]]) -> None:
    """Each by an identity of its own, every second."""
    strangers = [world.stranger() for _ in lies]
    for number in range(1, 1000):
        for stranger, (tell, lineage) in zip(strangers, lies, strict=True):
            tell(world, stranger, number, lineage)
        await trio.sleep(1)


def went(peer: Any) -> list[str]:
    return [outcome for outcome in peer.trainer.adopted_outcomes if outcome != "merged"]


async def honest_and_liars(world: Any, lies: list[tuple[Lie, bytes]], lineage: bytes = LINEAGE) -> None:
    for index in range(3):
        peer_of(world, f"p{index}", lineage=lineage)
    world.swarm.nursery.start_soon(lie, world, lies)
    await trio.sleep(3)


@pytest.mark.parametrize(("tell", "within"), [(not_finite, 6.0), (all_but_the_end, 14.0)])
@pytest.mark.parametrize("seed", range(3))
def test_twenty_bad_models_in_the_lineage_of_three_honest_hold_a_newcomer_up_for_little(run_world, tell, within, seed):
    async def main(world):
        await honest_and_liars(world, [(tell, LINEAGE)] * 20)
        newcomer = peer_of(world, "newcomer")
        await trio.sleep(within)
        return newcomer

    newcomer = run_with(run_world, main, seed=seed)
    assert (newcomer.lineage, went(newcomer)) == (LINEAGE, ["joined"])


@pytest.mark.parametrize("seed", range(3))
def test_bad_models_in_the_lineage_of_the_honest_lead_no_newcomer_to_the_one_identity_of_another(run_world, seed):
    async def main(world):
        await honest_and_liars(world, [(not_finite, LINEAGE)] * 20 + [(good, SMALLEST)])
        newcomer = peer_of(world, "newcomer")
        await trio.sleep(8)
        return newcomer

    newcomer = run_with(run_world, main, seed=seed)
    assert (newcomer.lineage, went(newcomer)) == (LINEAGE, ["joined"])


@pytest.mark.parametrize("tell", [not_finite, all_but_the_end])
def test_a_provisional_peer_moves_to_the_honest_among_twenty_bad_models(run_world, tell):
    async def main(world):
        reached: list[bool] = []
        world.swarm.medium.reaches = lambda sender, receiver: bool(reached)
        provisional = peer_of(world, "provisional")
        await trio.sleep(4)
        own = provisional.lineage
        world.swarm.medium.reaches = lambda sender, receiver: bool(reached) or provisional.peer not in (sender, receiver)
        await honest_and_liars(world, [(tell, LINEAGE)] * 20)
        reached.append(True)
        await trio.sleep(24)
        return own, provisional

    own, provisional = run_with(run_world, main, join={"settle_seconds": 60.0})
    assert own not in (b"", LINEAGE)
    assert (provisional.lineage, went(provisional)) == (LINEAGE, ["founded", "moved"])


@pytest.mark.parametrize("tell", [not_finite, all_but_the_end])
def test_an_order_to_rejoin_finds_the_honest_among_twenty_bad_models(run_world, tell):
    async def main(world):
        await honest_and_liars(world, [(tell, LINEAGE)] * 20)
        peer = peer_of(world, "peer", lineage=OTHER)
        await trio.sleep(3)
        peer.history.orders.order_rejoin(LINEAGE)
        await trio.sleep(30)
        return peer

    peer = run_with(run_world, main)
    assert (peer.lineage, went(peer)) == (LINEAGE, ["rejoined"])


def test_where_nothing_but_bad_models_is_heard_a_newcomer_founds_a_lineage_in_the_end(run_world):
    async def main(world):
        world.swarm.nursery.start_soon(lie, world, [(not_finite, LINEAGE)] * 2)
        await trio.sleep(2)
        newcomer = peer_of(world, "newcomer")
        await trio.sleep(30)
        early = newcomer.lineage
        await trio.sleep(30)
        return early, newcomer

    early, newcomer = run_with(run_world, main)
    assert early == b"", "somebody may still come"
    assert went(newcomer) == ["founded"]


def test_ever_new_identities_keep_no_newcomer_from_founding_a_lineage_for_good(run_world):
    async def main(world):
        async def flood():
            while True:
                for _ in range(5):
                    not_finite(world, world.stranger(), 1, LINEAGE)
                await trio.sleep(1)

        world.swarm.nursery.start_soon(flood)
        await trio.sleep(2)
        newcomer = peer_of(world, "newcomer")
        await trio.sleep(100)
        return newcomer

    assert went(run_with(run_world, main)) == ["founded"]
