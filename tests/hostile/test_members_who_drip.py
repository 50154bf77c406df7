"""A member whose blocks come one by one, each sooner than any silence that is noticed, costs others none of their rounds."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
import trio

from learnae.content.meta import architecture_of
from learnae.plugins.memory import MemoryStorage
from learnae.records import Cid, Encoded, TensorSpec

LINEAGE = b"lineage1"
FLOATS = 1 << 15  # each tensor is a block of its own
SPECS = tuple(TensorSpec(name=f"t{number:02}", dtype="float32", shape=(FLOATS,)) for number in range(8))
THIRD_SECONDS = 25


class Drops:
    """Blocks that come one after the other, each so many seconds after the one before."""

    def __init__(self) -> None:
        self.seconds: dict[Cid, float] = {}


class Dripping(MemoryStorage):
    async def get(self, cids, deliver, *, hints=()):
        drops = self.context.share(Drops).seconds
        await trio.sleep(0.01)
        await super().get([cid for cid in cids if cid not in drops], deliver, hints=hints)
        for cid in cids:
            if cid in drops:
                await trio.sleep(drops[cid])
                await super().get([cid], deliver, hints=hints)


def honest(world: Any, number: int) -> Any:
    chance = np.random.default_rng(number)

    def train(model: Any) -> int:
        for tensor in model.values():
            tensor += np.float32(chance.normal())
        return 1

    model = {spec.name: np.full(FLOATS, float(number), np.float32) for spec in SPECS}
    peer = world.swarm.peer(f"honest-{number}", model, train, round_seconds=lambda: 1.0 + number / 100)
    peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=LINEAGE, age=100)
    peer.start()
    return peer


def patiently_worse(number: int, drop_seconds: float) -> float:
    """Each drop comes a little later than the one before, so that each update of it is merged."""
    return min(drop_seconds, 0.002 * 1.4 ** max(0, number - 10))


def now_and_then(number: int, drop_seconds: float) -> float:
    return drop_seconds if number > 10 and number % 3 == 0 else 0.002


async def member(world: Any, drop_seconds: float, pace: Any) -> None:
    stranger, drops, chance, number = world.stranger(), world.swarm.shared(Drops).seconds, np.random.default_rng(9), 0
    world.swarm.shared(list).append(stranger.peer)
    while True:
        number += 1
        values = [(spec, Encoded(np.full(FLOATS, chance.normal(), "<f4").tobytes())) for spec in SPECS]
        packed = stranger.store(stranger.pack(values, number=number))
        drops |= {block.cid: pace(number, drop_seconds) for block in packed.blocks if block.cid != packed.root}
        size = sum(len(block.data) for block in packed.blocks)
        stranger.say(stranger.update(packed.root, architecture=architecture_of(SPECS), bytes=size), number)
        await trio.sleep(max(1.0, 1.3 * pace(number, drop_seconds) * len(packed.blocks)))


async def thirds(world: Any, drop_seconds: float, pace: Any) -> tuple[Any, list[list[Any]]]:
    """How many rounds each honest peer makes in each third of the time, and what became of the member's updates."""
    peers, counted = [honest(world, number) for number in range(2)], []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(member, world, drop_seconds, pace)
        for _ in range(4):
            counted.append([len(peer.trainer.reports) for peer in peers])
            await trio.sleep(THIRD_SECONDS)
        nursery.cancel_scope.cancel()
    [liar] = world.swarm.shared(list)
    verdicts = [[v for report in peer.trainer.reports for v in report.verdicts if v.peer == liar] for peer in peers]
    return np.diff(counted, axis=0), verdicts


def run_dripping(run_world: Any, drop_seconds: float, pace: Any) -> tuple[Any, list[list[Any]]]:
    return run_world(
        lambda world: thirds(world, drop_seconds, pace), strategies={"storage": {"dripping": Dripping}}, storage={"use": "dripping"}
    )


@pytest.fixture(scope="module")
def undisturbed(run_world: Any) -> Any:
    return run_dripping(run_world, 0.0, now_and_then)[0]


@pytest.mark.slow
@pytest.mark.parametrize("pace", [patiently_worse, now_and_then])
def test_small_drops_of_a_member_cost_nobody_a_tenth_of_its_rounds_and_it_is_merged_all_the_same(run_world, undisturbed, pace):
    after, verdicts = run_dripping(run_world, 0.2, pace)
    assert (after >= 0.9 * undisturbed).all()
    for about in verdicts:
        assert sum(verdict.merged for verdict in about[-8:]) >= 4, "an honest peer with such a line is still merged"
