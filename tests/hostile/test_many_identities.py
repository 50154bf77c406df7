"""A member with as many identities as there are honest peers: what it gets of a peer's fetches, and what that costs (decision 0031)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import pytest
import trio

from learnae.errors import UnavailableError
from learnae.observations import RoundReport
from learnae.plugins.memory import MemoryStorage
from learnae.records import Cid, Encoded, PeerId, TensorSpec

HONEST, IDENTITIES = 8, 8  # beside the victim; both are played
ROUNDS = 100
NOT_FINITE = Encoded(np.full(64, np.nan, "<f4").tobytes())
SPEC = TensorSpec(name="w", dtype="float32", shape=(64,))


@attrs.define
class Manners:
    """Who serves whom: an identity knows how often each victim has tried it."""

    owners: dict[Cid, PeerId] = attrs.field(factory=dict)
    tries: dict[tuple[PeerId, PeerId], int] = attrs.field(factory=lambda: defaultdict(int))
    serves: Any = None
    turned: bool = False

    def ask(self, victim: PeerId, cid: Cid) -> bool:
        if cid not in self.owners or not self.turned:
            return True
        self.tries[victim, self.owners[cid]] += 1
        return bool(self.serves(self.tries[victim, self.owners[cid]]))


class Choosy(MemoryStorage):
    async def get(self, cids, deliver, *, hints=()):
        manners = self.context.share(Manners)
        refused = [cid for cid in cids if not manners.ask(self.context.peer, cid)]
        await trio.sleep(0.01)
        if refused:
            raise UnavailableError("not for you", refused)
        await super().get(cids, deliver, hints=hints)


ATTACKS: dict[str, dict[str, Any]] = {
    "accepted once": {"serves": lambda tries: tries == 1},
    "all turn at once": {"serves": lambda tries: False, "turn": 60},
    "not finite, all at once": {"garbage": True, "turn": 30},
    "every second time": {"serves": lambda tries: tries % 2 == 1},
    "two times of three": {"serves": lambda tries: tries % 3 != 0},
}
"""What the identities serve, and from which second on."""


async def attacked(
    world: Any, identities: int, *, serves: Any = lambda tries: True, turn: float = 0.0, every: float = 1.0, garbage: bool = False
) -> tuple[Sequence[RoundReport], set[PeerId]]:
    """What one peer reports of the rounds after the turn, and who is not honest."""
    manners = world.swarm.shared(Manners)
    manners.serves = serves
    [victim] = world.honest(1)
    honest, bad = [world.stranger() for _ in range(HONEST)], [world.stranger() for _ in range(identities)]

    async def publish(peer: Any, number: int, *, wicked: bool) -> None:
        packed = peer.pack([(SPEC, NOT_FINITE)] if garbage and wicked and manners.turned else None, number=number)
        if wicked:
            manners.owners[packed.root] = peer.peer
        peer.store(packed)
        peer.say(peer.update(packed.root), number)

    async def live(peer: Any, wicked: bool, place: float) -> None:
        await trio.sleep(place)
        number = 0
        while True:
            number += 1
            await publish(peer, number, wicked=wicked)
            await trio.sleep(every if wicked else 1.0)

    async with trio.open_nursery() as nursery:
        for place, peer in enumerate(bad):
            nursery.start_soon(live, peer, True, place / 100)
        for place, peer in enumerate(honest):
            nursery.start_soon(live, peer, False, 0.5 + place / 100)
        await trio.sleep(turn)
        manners.turned, began = True, len(victim.trainer.reports)
        await trio.sleep(ROUNDS)
        nursery.cancel_scope.cancel()
    return victim.trainer.reports[began:], {peer.peer for peer in bad}


def run_choosy(run_world: Any, identities: int, **attack: Any) -> tuple[float, float]:
    """Merged updates in a round, and the identities' share of what was tried."""
    reports, bad = run_world(
        lambda world: attacked(world, identities, **attack), strategies={"storage": {"choosy": Choosy}}, storage={"use": "choosy"}
    )
    verdicts = [verdict for report in reports for verdict in report.verdicts]
    return sum(verdict.merged for verdict in verdicts) / len(reports), sum(verdict.peer in bad for verdict in verdicts) / len(verdicts)


@pytest.fixture(scope="module")
def undisturbed(run_world: Any) -> float:
    return run_choosy(run_world, 0)[0]


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_half_of_all_identities_cost_a_peer_at_most_a_fifth_of_its_useful_fetches(run_world, undisturbed, attack):
    useful, share = run_choosy(run_world, IDENTITIES, **ATTACKS[attack])
    assert useful >= 0.84 * undisturbed
    assert share <= 0.3


@pytest.mark.slow
def test_whoever_publishes_ten_times_as_often_is_fetched_no_more_often(run_world, undisturbed):
    useful, share = run_choosy(run_world, IDENTITIES, every=0.1)
    assert useful >= 0.95 * undisturbed
    assert share <= IDENTITIES / (HONEST + IDENTITIES) + 0.02
