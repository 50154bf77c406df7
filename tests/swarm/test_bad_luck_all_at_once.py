"""Every call of every storage and announcer may fail in every way, and nodes die meanwhile; when that is over, all is well again."""

from __future__ import annotations

from random import Random

import pytest
import trio
from structlog.testing import capture_logs

from learnae.testing.faults import Fault, at_random
from tests.support.simulated import LINEAGE, events, merges, value

CHANCES = dict.fromkeys((Fault.BEFORE, Fault.HALFWAY, Fault.GARBAGE), 0.1) | {Fault.SLOW: 0.05, Fault.SILENCE: 0.02}
STORM_SECONDS, CALM_SECONDS = 120, 240


async def weather_the_storm(world, seed: int):
    peers = [world.peer(f"p{index}", float(index), lineage=LINEAGE) for index in range(4)]
    for index, peer in enumerate(peers):
        world.weather.storage[peer.peer] = at_random(seed + index, CHANCES)
        world.weather.announcer[peer.peer] = at_random(seed + 100 + index, CHANCES)
        peer.start()
    chance = Random(seed)
    for _ in range(STORM_SECONDS // 10):
        await trio.sleep(9.3)
        victim = chance.choice(peers)
        victim.kill_node()
        await trio.sleep(0.7)
        victim.start_node()
    world.weather.storage.clear()
    world.weather.announcer.clear()
    for peer in peers:  # what hangs hangs on: only a new node is rid of it
        peer.kill_node()
        peer.start_node()
    before = [merges(peer) for peer in peers]
    await trio.sleep(CALM_SECONDS)
    merged = [merges(peer) - past for peer, past in zip(peers, before, strict=True)]
    return peers, [value(peer) for peer in peers], merged, world.store


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_after_a_storm_all_peers_merge_agree_and_leave_nothing_lying_about(run_world, seed):
    with capture_logs() as logs:
        peers, values, merged, store = run_world(lambda world: weather_the_storm(world, seed), seed=seed, node={"fetch_seconds": 2.0})
    assert max(values) - min(values) < 0.03
    assert min(merged) > CALM_SECONDS / 2
    assert [peer.trainer.progress.steps for peer in peers] == [STORM_SECONDS + CALM_SECONDS] * 4
    assert len(store.roots) <= 4 * 12
    assert not events(logs, "plugin.failed")
