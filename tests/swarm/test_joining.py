"""Starting together, coming late, coming back, splitting: the real node under virtual time."""

from functools import partial
from random import Random

import numpy as np
import pytest
import trio

from learnae.plugins.memory import MemoryMedium
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm, run_in_virtual_time
from tests.support.simulated import start

MEAN_LATENCIES = (0.05, 0.3, 1.0, 3.0, 6.0)


def drift(rng: np.random.Generator, model) -> int:
    model["w"] += rng.normal(0, 0.01, model["w"].shape).astype(np.float32)
    return 1


def wanderer(swarm: SimulatedSwarm, name: str, **options) -> SimulatedPeer:
    """A peer with weights of its own that trains a little at random, in rounds of about a second."""
    rng = np.random.default_rng([swarm.seed, *name.encode()])
    pace = Random(f"{swarm.seed}/{name}")
    return swarm.peer(
        name,
        {"w": rng.normal(0, 1, 5).astype(np.float32)},
        partial(drift, rng),
        round_seconds=lambda: pace.uniform(0.8, 1.2),
        **options,
    )


def lineages(peers) -> set[bytes]:
    return {peer.lineage for peer in peers}


def slow_medium(mean: float, look_seconds: float | None, loss: float = 0.0) -> MemoryMedium:
    return MemoryMedium(delay=lambda rng: rng.expovariate(1 / mean), look_seconds=look_seconds, loss=loss)


async def start_four_together(seed: int, mean: float, look_seconds: float | None) -> set[bytes]:
    async with SimulatedSwarm(seed=seed, medium=slow_medium(mean, look_seconds)) as swarm:
        peers = [wanderer(swarm, f"p{i}").start() for i in range(4)]
        await trio.sleep(60 + 10 * mean)
        return lineages(peers)


@pytest.mark.parametrize("mean", MEAN_LATENCIES)
@pytest.mark.parametrize("look_seconds", [None, 1.0], ids=["pushed", "polled"])
@pytest.mark.parametrize("seed", range(10))
def test_four_that_start_together_end_in_one_lineage(seed, mean, look_seconds):
    found = run_in_virtual_time(start_four_together, seed, mean, look_seconds, seed=seed)
    assert len(found) == 1
    assert found != {b""}


async def start_twenty_under_fire(seed: int) -> set[bytes]:
    chance = Random(seed)
    async with SimulatedSwarm(seed=seed, medium=slow_medium(0.3, None, loss=0.2)) as swarm:
        peers = [wanderer(swarm, f"p{i}").start() for i in range(20)]
        for _ in range(15):
            victim = chance.choice(peers)
            await trio.sleep(1.0)
            victim.kill_node()
            await trio.sleep(0.5)
            victim.start_node()
        await trio.sleep(40)
        return lineages(peers)


@pytest.mark.parametrize("seed", range(3))
def test_twenty_with_loss_and_kills_from_the_first_second_end_in_one_lineage(seed):
    assert len(run_in_virtual_time(start_twenty_under_fire, seed, seed=seed)) == 1


async def fifth_comes_late() -> tuple[set[bytes], float]:
    async with SimulatedSwarm(seed=1) as swarm:
        peers = [wanderer(swarm, f"p{i}").start() for i in range(4)]
        await trio.sleep(60)
        fifth = wanderer(swarm, "late")
        fifth.trainer.model["w"] += 100
        fifth.start()
        await trio.sleep(10)
        distance = float(np.abs(fifth.trainer.model["w"] - peers[0].trainer.model["w"]).max())
        return lineages([*peers, fifth]), distance


def test_a_fifth_that_comes_late_adopts_the_model_of_the_others():
    found, distance = run_in_virtual_time(fifth_comes_late)
    assert len(found) == 1
    assert distance < 1.0


async def comes_back_while_all_are_silent() -> tuple[bytes, bytes, list[str]]:
    async with SimulatedSwarm(seed=1) as swarm:
        peers = [wanderer(swarm, f"p{i}").start() for i in range(3)]
        await trio.sleep(30)
        for peer in peers:
            peer.kill()
        lineage = peers[0].lineage
        returning = wanderer(swarm, "p0")
        peers[0].replace_trainer(returning.trainer)
        peers[0].start()
        await trio.sleep(10)
        return lineage, peers[0].lineage, peers[0].trainer.adopted_outcomes


def test_a_peer_without_checkpoint_joins_from_backlog_while_all_others_are_silent():
    before, after, outcomes = run_in_virtual_time(comes_back_while_all_are_silent)
    assert after == before
    assert outcomes[0] == "joined"


async def two_established_swarms_meet() -> list[tuple[bytes, set[bytes]]]:
    async with SimulatedSwarm(seed=1) as swarm:
        peers = [wanderer(swarm, f"p{i}") for i in range(4)]
        sides = {peer.peer: index % 2 for index, peer in enumerate(peers)}
        swarm.medium.reaches = lambda sender, receiver: sides[sender] == sides[receiver]
        start(*peers)
        await trio.sleep(30)
        swarm.medium.reaches = lambda sender, receiver: True
        await trio.sleep(10)
        return [(peer.lineage, {split for report in peer.trainer.reports for split in report.splits}) for peer in peers]


def test_two_established_swarms_that_meet_are_reported_as_a_split_on_both_sides():
    (left, left_splits), (right, right_splits), *_ = seen = run_in_virtual_time(two_established_swarms_meet)
    assert left != right
    assert all(splits == ({right} if lineage == left else {left}) for lineage, splits in seen)
    assert left_splits and right_splits


async def one_alone() -> SimulatedPeer:
    async with SimulatedSwarm(seed=1) as swarm:
        peer = wanderer(swarm, "alone").start()
        await trio.sleep(20)
        return peer


def test_a_peer_that_hears_nobody_founds_a_lineage_and_trains_on_alone():
    peer = run_in_virtual_time(one_alone)
    assert len(peer.lineage) == 8
    assert [report.outcome for report in peer.trainer.reports[:3]] == ["founded", "alone", "alone"]
    assert peer.trainer.progress.steps >= 15


def test_what_a_newcomer_spends_on_listening_is_no_round():
    """It listens for five of its trainer's rounds. What follows is counted from 1, in reports and history, and on after a restart."""

    async def main() -> tuple[list[int], list[int]]:
        async with SimulatedSwarm(settings={"join": {"wait_seconds": 5.0}}) as swarm:
            peer = wanderer(swarm, "newcomer")
            peer.start()
            await trio.sleep(20)
            peer.kill_node()
            peer.start_node()
            await trio.sleep(20)
            reported = [report.round for report in peer.trainer.reports]
            return reported, [past.round for past in peer.history.reader.past_rounds(1000)][::-1]

    reported, kept = run_in_virtual_time(main)
    assert reported == kept == list(range(1, len(kept) + 1))
    assert len(kept) > 20
