"""A member of the swarm with a real host that floods, lies, drips or reads nothing: honest peers still hear and fetch."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

pytest.importorskip("libp2p", reason="needs a C compiler and headers: apt-get install build-essential python3-dev libgmp-dev")

from learnae.lowlevel import cid_bytes
from plugins.libp2p.tests.support.hostile_peer import REAL
from plugins.libp2p.tests.support.peer_processes import PeerProcess, network_of_peers

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("networks")]
HOSTILE = "plugins.libp2p.tests.support.hostile_peer"
MOST_GROWTH = 200 << 20  # of memory; what it is flooded with is many times that


def memory_of(peer: PeerProcess) -> int:
    return int(psutil.Process(peer.running.pid).memory_info().rss)


@pytest.mark.parametrize("behaviour", REAL)
async def test_honest_peers_hear_each_other_and_fetch_beside_a_hostile_one(tmp_path: Path, behaviour: str) -> None:
    async with network_of_peers(tmp_path) as swarm:
        one, two = await swarm.open("one", "two")
        before = memory_of(two)
        update = await one.puts("wanted", 20, 100_000)
        evil = swarm.place(f"evil-{behaviour}", program=HOSTILE)
        await swarm.start(evil, knowing=[one, two])
        await one.meets(evil)
        await two.meets(evil)
        if behaviour == "silent":
            evil.order("ask", peer=one.id, cids=[cid_bytes(cid).hex() for cid in update.cids])
            await evil.until(lambda: ("asks", "") in evil.told)
        elif behaviour == "floods":
            await evil.until(lambda: ("floods", "") in evil.told)
        assert await two.fetches(update, evil, one) == set(update.cids)
        await one.is_heard_by(two)
        await two.is_heard_by(one)
        assert one.built == two.built == 1
        assert memory_of(two) - before < MOST_GROWTH


async def test_who_has_nothing_but_a_liar_to_ask_gets_nothing_and_is_told_so(tmp_path: Path) -> None:
    async with network_of_peers(tmp_path) as swarm:
        (one,) = await swarm.open("one")
        update = await one.puts("wanted", 4, 100_000)
        two = swarm.place("two")
        evil = swarm.place("evil-lies", program=HOSTILE)
        await swarm.start(evil)
        await swarm.start(two, knowing=[evil])
        await two.meets(evil)
        assert await two.fetches(update, evil) == set()
