"""Offers of rows that their giver has taken back, shown again by somebody else: they are counted against nobody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from learnae.plugins.memory import Key, MemoryMedium
from learnae.records import PeerId
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.support.rows import SHARES, TAKES, digits, give, pool_of, with_rows

pytestmark = pytest.mark.virtual_time

OUTSIDER = PeerId("f" * 64)
ROWS, EACH = 50, 5


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Callable[[SimulatedPeer], dict[bytes, Key]]:
    """All that this peer says from then on, as whoever listens can write it down."""
    send = MemoryMedium.send

    def of(peer: SimulatedPeer) -> dict[bytes, Key]:
        said: dict[bytes, Key] = {}

        def sending(medium: MemoryMedium, sender: PeerId, key: Key, message: bytes) -> None:
            if sender == peer.peer:
                said[message] = key
            send(medium, sender, key, message)

        monkeypatch.setattr(MemoryMedium, "send", sending)
        return said

    return of


async def show_again(swarm: SimulatedSwarm, said: dict[bytes, Key]) -> None:
    """All of it each ten seconds, in places of the outsider's own."""
    while True:
        for message, (channel, place) in said.items():
            swarm.medium.send(OUTSIDER, (channel, place + b"again"), message)
        await trio.sleep(10)


@pytest.mark.parametrize("private", [False, True], ids=["open", "private"])
async def test_old_offers_shown_again_keep_no_rows_of_their_giver_away(
    tmp_path: Path, recorded: Callable[[SimulatedPeer], dict[bytes, Key]], private: bool
) -> None:
    async with SimulatedSwarm(folder=tmp_path, private=private) as swarm:
        giver = with_rows(swarm, "a", digits((1, 2)), SHARES)
        said = recorded(giver)
        give(giver, digits((1, 2), ROWS, seed=1), most_rows=EACH)
        giver.start()
        await trio.sleep(60)
        old = dict(said)
        give(giver, digits((1, 2), ROWS, seed=2), most_rows=EACH)
        await trio.sleep(40)
        swarm.nursery.start_soon(show_again, swarm, old)
        taker = with_rows(swarm, "b", digits((3, 4)), TAKES).start()
        await trio.sleep(120)
        assert sum(one.rows for one in pool_of(taker)) == ROWS
