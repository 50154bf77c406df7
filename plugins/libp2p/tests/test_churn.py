"""Sixteen peers that train, each with a process, a node and a host of its own: five of them are killed, and the others go on."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.support.libp2p_peers import NEEDS_LIBP2P, in_trio

pytest.importorskip("libp2p", reason=NEEDS_LIBP2P)

from plugins.libp2p.tests.support.member_swarm import member_swarm

PEERS, RANDOM_KILLS = 16, 3
ROUND_SECONDS = 3.0
LIMIT_SECONDS = 500.0


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_SECONDS + 20)
def test_a_swarm_that_loses_its_first_its_best_connected_and_three_more_peers_merges_in_every_round(tmp_path: Path) -> None:
    async def test() -> None:
        async with member_swarm(tmp_path, PEERS, ROUND_SECONDS) as swarm:
            await swarm.start()
            await swarm.merge(rounds=2)
            swarm.first.kill()
            await swarm.merge(rounds=1)
            swarm.best_connected.kill()
            for victim in Random(0).sample(swarm.alive, RANDOM_KILLS):
                victim.kill()
            made = await swarm.merge(rounds=4)
            assert len(made) == PEERS - 2 - RANDOM_KILLS

    in_trio(test, LIMIT_SECONDS)
