"""What a liar claims of its counters and its age does not outgrow what honest peers have done."""

from __future__ import annotations

import numpy as np
import pytest
import trio

from tests.support.simulated import LINEAGE, aged, merges, start

pytestmark = pytest.mark.virtual_time

MOST = np.iinfo(np.int64).max
TABLE = [0, 1, 2, 511]  # such as the positions of a transformer: an index beyond it ends the training


def counting(model) -> int:
    model["batches"] += 1
    return 1


def lying(model) -> int:
    model["batches"][...] = MOST
    model["positions"][...] = MOST
    return 1


def made(value: float, batches: int = 0) -> dict[str, np.ndarray]:
    return {"w": np.full(4, value, np.float32), "batches": np.array(batches), "positions": np.array(TABLE)}


def of_old(world, number: int, lie, **options) -> list:
    """Liars that say in each round that their model is very old."""

    def liar(index: int):
        peer = world.peer(f"liar{index}", made(3.0), lineage=LINEAGE, train=lambda model: aged(peer, 2**48) and lie(model), **options)
        return peer

    return [liar(index) for index in range(number)]


def batches(peer) -> int:
    return int(peer.trainer.model["batches"])


@pytest.mark.parametrize("seed", range(2))
def test_one_liar_among_eight_moves_no_counter_and_no_index(run_world, seed):
    async def main(world):
        honest = [world.peer(f"p{i}", made(float(i)), lineage=LINEAGE, train=counting) for i in range(7)]
        liar = world.peer("liar", made(3.0), lineage=LINEAGE, train=lying)
        start(*honest, liar)
        await trio.sleep(40)
        return honest

    for peer in run_world(main, seed=seed):
        assert peer.trainer.progress.steps <= batches(peer) <= 45
        assert peer.trainer.model["positions"].tolist() == TABLE
        assert merges(peer)


def test_a_newcomer_that_can_choose_of_three_gets_no_lie_along_with_its_model(run_world):
    async def main(world):
        for index in range(2):
            world.peer(f"p{index}", made(1.0, 100), lineage=LINEAGE, train=counting).start()
        aged(world.peer("liar", made(1.0), lineage=LINEAGE, train=lying), 2**50).start()
        newcomer = world.peer("newcomer", made(0.0), train=counting).start()
        await trio.sleep(20)
        return newcomer

    for seed in range(4):
        newcomer = run_world(main, seed=seed)
        assert newcomer.lineage == LINEAGE
        assert 100 <= batches(newcomer) <= 125
        assert newcomer.trainer.progress.age <= 25
        assert newcomer.trainer.model["positions"].tolist() == TABLE


@pytest.mark.slow
async def test_two_liars_among_ten_move_no_counter_and_no_age_also_of_a_newcomer(a_world):
    """Each honest peer merges with both at once now and then, and would pass on what it believed."""

    async with a_world() as world:
        liars = of_old(world, 2, lying)
        honest = [world.peer(f"p{i}", made(3.0), lineage=LINEAGE, train=counting) for i in range(8)]
        start(*honest, *liars)
        await trio.sleep(30)
        honest.append(world.peer("newcomer", made(0.0), train=counting).start())
        await trio.sleep(15)
    for peer in honest:
        assert peer.lineage == LINEAGE
        assert batches(peer) <= 2 * 45
        assert peer.trainer.progress.age <= 2 * 45


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_two_liars_with_equal_tables_change_no_integer_of_newcomers_whose_first_models_are_theirs(run_world, seed):
    """Two of five lie: of three newcomers in ten, two of the first three models that come are theirs."""

    def lying_together(model) -> int:
        model["w"][...] = 50.0  # so that they are nearer to each other than to the honest
        model["positions"][...] = [0, 1, 2, 9999]
        model["batches"][...] = MOST
        return 1

    async def main(world):
        liars = of_old(world, 2, lying_together)
        honest = [world.peer(f"p{i}", made(3.0), lineage=LINEAGE, train=counting) for i in range(3)]
        start(*honest, *liars)
        await trio.sleep(20)
        new = []
        for index in range(8):  # each gone before the next comes: it shall hear no more honest ones than those
            new.append(world.peer(f"newcomer{index}", made(0.0) | {"positions": np.zeros(4, int)}, train=counting).start())
            await trio.sleep(5)
            new[-1].kill()
            world.swarm.medium.newest.clear()
            await trio.sleep(2)
        return new

    for peer in run_world(main, seed=seed):
        assert peer.lineage == LINEAGE
        assert peer.trainer.model["positions"].tolist() == TABLE
        assert batches(peer) <= 2 * 80
        assert peer.trainer.progress.age <= 2 * 80


@pytest.mark.parametrize("backlog", [True, False])
async def test_two_fast_liars_raise_nothing_of_a_fast_peer_that_begins_again_among_slow_ones(a_world, backlog):
    """After the restart it hears the liars alone for half a minute, and they are more than it needs in a small swarm."""

    async with a_world() as world:

        def peer(name, train, seconds):
            return world.peer(name, made(3.0), lineage=LINEAGE, train=train, round_seconds=lambda: seconds)

        slow = [peer(f"p{i}", counting, 40 + 0.13 * i) for i in range(7)]
        fast = peer("fast", counting, 0.5)
        start(*slow, fast)
        await trio.sleep(42)
        start(*of_old(world, 2, lying, round_seconds=lambda: 0.5))
        await trio.sleep(5)
        fast.kill_node()
        await trio.sleep(1)
        if not backlog:
            world.swarm.medium.newest.clear()
        fast.start_node()
        await trio.sleep(25)
    assert fast.trainer.progress.steps >= 60
    assert batches(fast) <= 2 * fast.trainer.progress.steps
    assert fast.trainer.progress.age <= 2 * fast.trainer.progress.steps


async def test_counters_of_both_sides_of_a_partition_meet_again(a_world):
    async with a_world() as world:
        peers = [world.peer(f"p{i}", made(0.0, 1000 * (i % 2)), lineage=LINEAGE, train=counting).start() for i in range(6)]
        await trio.sleep(40)
    counts = [batches(peer) for peer in peers]
    assert max(counts) - min(counts) <= 5
    assert 1000 <= min(counts) <= max(counts) <= 1045
