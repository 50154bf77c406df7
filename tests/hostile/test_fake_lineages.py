"""Strangers that announce established lineages whose models never come hold up nobody who is provisional, nobody who yields."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import trio

import learnae
from learnae.content.cids import dag_cid
from learnae.plugins.hooks import Plugin
from learnae.plugins.manager import PluginManager
from learnae.plugins.memory import MemoryStorage
from tests.support.hostile.missing_blocks import Silent, Trapped


class Late(MemoryStorage):
    """Whose blocks take three rounds and more."""

    async def get(self, cids, deliver, *, hints=()):
        await trio.sleep(2.0)
        await super().get(cids, deliver, hints=hints)


class Storages:
    @learnae.hookimpl
    def learnae_register_storage(self):
        return {"trapped": Trapped, "late": Late}


def run_with(run_world: Any, main: Any, storage: str, **settings: Any) -> Any:
    manager = PluginManager.discover(only=())
    manager.register(Storages(), Plugin("storages"))
    return run_world(main, manager=manager, storage={"use": storage}, join={"wait_seconds": 2.0, **settings})


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
def test_a_lineage_that_is_only_announced_costs_a_peer_that_would_go_there_no_rounds(run_world, before, lineages):
    async def main(world):
        peer = honest(world, "honest", 1.0)
        peer.start()
        await trio.sleep(before)
        own, rounds = peer.lineage, len(peer.trainer.reports)
        await lie(world, 30, lineages)
        return own, peer.lineage, len(peer.trainer.reports) - rounds

    own, lineage, rounds = run_with(run_world, main, "trapped", on_split="yield")
    assert own
    assert lineage == own
    assert rounds >= 0.9 * 60


def test_models_that_take_some_rounds_to_come_are_adopted_by_a_round_that_finds_them(run_world):
    async def main(world):
        peers = [honest(world, f"honest-{number}", float(number)) for number in range(2)]
        heard: list[bool] = [False]
        world.swarm.medium.reaches = lambda sender, receiver: heard[0]
        for peer in peers:
            peer.start()
        await trio.sleep(4)
        apart = {peer.lineage for peer in peers}
        heard[0] = True
        await trio.sleep(20)
        return apart, {peer.lineage for peer in peers}

    apart, together = run_with(run_world, main, "late")
    assert len(apart) == 2
    assert together == {min(apart)}
