"""Who is the first at a keeper has no say in what it keeps of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.support.simulated import start

pytestmark = pytest.mark.virtual_time


def train(model: dict[str, Any]) -> int:
    model["w"] += 1.0
    return 1


def trainer(swarm: SimulatedSwarm, name: str, size: int = 4) -> SimulatedPeer:
    return swarm.peer(name, {"w": np.zeros(size, np.float32)}, train, round_seconds=lambda: 3.0)


async def test_one_stranger_whose_tensors_are_others_keeps_no_model_of_the_swarm_from_a_keeper(tmp_path: Path) -> None:
    """He says that his model is theirs, and a keeper, which has none, cannot tell whose word is true."""
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        known = trainer(swarm, "known").start()
        architecture = known.node.publisher.architecture
        known.kill()
        swarm.medium.newest.clear()
        keeper = swarm.peer("keeper", {}, lambda model: 0, round_seconds=lambda: 1e6, settings={"peer": {"role": "keeper"}}).start()
        liar = trainer(swarm, "liar", 5).start()
        liar.node.publisher.architecture = architecture
        await trio.sleep(20)
        assert set(keeper.node.keeping.kept.newest()) == {liar.peer}
        honest = [trainer(swarm, "a"), trainer(swarm, "b")]
        start(*honest)
        await trio.sleep(60)
        assert {one.peer for one in honest} <= set(keeper.node.keeping.kept.newest())
