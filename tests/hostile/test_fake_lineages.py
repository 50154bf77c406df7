"""Strangers that announce established lineages whose models never come hold up nobody who is provisional, nobody who yields."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import trio

from learnae.content.cids import dag_cid
from learnae.plugins.memory import MemoryStorage
from tests.support.hostile.missing_blocks import Silent, Trapped

pytestmark = pytest.mark.virtual_time


class Late(MemoryStorage):
    """Whose blocks take three rounds and more."""

    async def get(self, cids, deliver, *, hints=()):
        await trio.sleep(2.0)
        await super().get(cids, deliver, hints=hints)


STORAGES: Any = {"storage": {"trapped": Trapped, "late": Late}}


def honest(world: Any, name: str, value: float) -> Any:
    def train(model: Any) -> int:
        model["w"] += np.float32(0.01)
        return 1

    return world.swarm.peer(name, {"w": np.full(64, value, np.float32)}, train, round_seconds=lambda: 0.5)


async def lie(world: Any, seconds: int, lineages: int) -> None:
    strangers = [world.stranger() for _ in range(lineages)]
    for number in range(1, seconds + 1):
        for index, stranger in enumerate(strangers):
            root = dag_cid(f"{stranger.peer} {number}".encode())
            world.swarm.shared(Silent).add(root)
            stranger.say(stranger.update(root, lineage=bytes([0] * 7 + [index]), provisional=False), number)
        await trio.sleep(1)


@pytest.mark.parametrize("lineages", [1, 5])
@pytest.mark.parametrize("before", [4, 40], ids=["provisional", "established and yielding"])
async def test_a_lineage_that_is_only_announced_costs_a_peer_that_would_go_there_no_rounds(a_world, before, lineages):
    async with a_world(strategies=STORAGES, storage={"use": "trapped"}, join={"wait_seconds": 2.0, "on_split": "yield"}) as world:
        peer = honest(world, "honest", 1.0)
        peer.start()
        await trio.sleep(before)
        own, rounds = peer.lineage, len(peer.trainer.reports)
        await lie(world, 30, lineages)
        lineage, rounds = peer.lineage, len(peer.trainer.reports) - rounds
    assert own
    assert lineage == own
    assert rounds >= 0.9 * 60


async def test_models_that_take_some_rounds_to_come_are_adopted_by_a_round_that_finds_them(a_world):
    async with a_world(strategies=STORAGES, storage={"use": "late"}, join={"wait_seconds": 2.0}) as world:
        peers = [honest(world, f"honest-{number}", float(number)) for number in range(2)]
        heard: list[bool] = [False]
        world.swarm.medium.reaches = lambda sender, receiver: heard[0]
        for peer in peers:
            peer.start()
        await trio.sleep(4)
        apart = {peer.lineage for peer in peers}
        heard[0] = True
        await trio.sleep(20)
        together = {peer.lineage for peer in peers}
    assert len(apart) == 2
    assert together == {min(apart)}
