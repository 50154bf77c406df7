"""Two groups with media apart, and relays in between, under virtual time."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import attrs
import numpy as np
import pytest
import trio

from learnae.identity.envelopes import decode_envelope
from learnae.identity.swarms import swarm_id
from learnae.plugins.memory import MemoryAnnouncer, MemoryMedium, MemoryStorage, MemoryStore
from learnae.records import Announcement, Cid, PeerId
from learnae.testing.faults import FaultyStorage, Plan
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.support.simulated import offering, run_within

LINEAGE = b"together"
PUT_SECONDS = 0.15  # so long a peer that was told of an update too early would search for it in vain


class LeftStore(MemoryStore):
    pass


class RightStore(MemoryStore):
    pass


class LeftMedium(MemoryMedium):
    pass


class RightMedium(MemoryMedium):
    pass


STORES, MEDIA = {"left": LeftStore, "right": RightStore}, {"left": LeftMedium, "right": RightMedium}


@attrs.frozen
class Said:
    """What was said on a medium."""

    sender: PeerId
    replaces: bytes
    message: bytes

    @property
    def announcement(self) -> Announcement:
        return decode_envelope(self.message, swarm_id("default")).announcement


@attrs.define
class Records:
    """What was said on each medium, and what goes wrong with the right storage at whom."""

    said: dict[str, list[Said]] = attrs.field(factory=lambda: {"left": [], "right": []})
    plans: dict[PeerId, Plan] = attrs.field(factory=dict)


def storage(side: str) -> type[FaultyStorage]:
    class Apart(MemoryStorage):
        def __init__(self, options: Any, context: Any) -> None:
            super().__init__(options, context)
            self.store = context.share(STORES[side])

        async def put(self, root: Any, blocks: Any) -> None:
            await trio.sleep(PUT_SECONDS)
            await super().put(root, blocks)

    class Planned(FaultyStorage):
        def __init__(self, options: Any, context: Any) -> None:
            plans: Mapping[PeerId, Plan] = context.share(Records).plans if side == "right" else {}
            super().__init__(Apart(options, context), lambda method, call: plans.get(context.peer, lambda *_: None)(method, call))

    return Planned


def announcer(side: str) -> type[MemoryAnnouncer]:
    class Apart(MemoryAnnouncer):
        def __init__(self, options: Any, context: Any) -> None:
            super().__init__(options, context)
            self.medium, self.said = context.share(MEDIA[side]), context.share(Records).said[side]

        async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
            self.said.append(Said(self.context.peer, replaces, message))
            await super().announce(message, channel=channel, replaces=replaces)

    return Apart


LEFT, RIGHT, BOTH = ("left",), ("right",), ("left", "right")
SEPARATIONS = {  # storages and announcers of the left, of the right, and of the relays
    "nothing in common": ((LEFT, LEFT), (RIGHT, RIGHT), (BOTH, BOTH)),
    "one announcer": ((LEFT, LEFT), (RIGHT, LEFT), (BOTH, LEFT)),
    "one storage": ((LEFT, LEFT), (LEFT, RIGHT), (LEFT, BOTH)),
}


@pytest.fixture(params=list(SEPARATIONS))
def separation(request: pytest.FixtureRequest) -> str:
    """What the two groups have in common."""
    return str(request.param)


@attrs.frozen
class Groups:
    """Two of each side, and those in between."""

    left: list[SimulatedPeer]
    right: list[SimulatedPeer]
    relays: list[SimulatedPeer]

    @property
    def everybody(self) -> list[SimulatedPeer]:
        return [*self.left, *self.right, *self.relays]

    def merged_from_the_other_side(self) -> list[int]:
        """How many updates of each peer of the other side each peer has merged."""
        pairs = [*((a, b) for a in self.left for b in self.right), *((b, a) for a in self.left for b in self.right)]
        return [merged(peer)[other.peer] for peer, other in pairs]


def merged(peer: SimulatedPeer) -> Counter[PeerId]:
    return Counter(verdict.peer for report in peer.trainer.reports for verdict in report.verdicts if verdict.merged)


@attrs.define
class World:
    """A simulated swarm on the media of both sides."""

    swarm: SimulatedSwarm

    async def start(
        self,
        separation: str = "nothing in common",
        *,
        relays: int = 1,
        lineage: bytes = LINEAGE,
        phase: float = 0.17,
        relay: Mapping[str, Any] | None = None,
    ) -> Groups:
        """One after the other; all rounds take a second. `relay` stands in [peer] of those in between."""
        left, right, between = SEPARATIONS[separation]
        groups = Groups(
            [self.peer(f"left-{i}", 1.0, *left, lineage=lineage) for i in range(2)],
            [self.peer(f"right-{i}", 2.0, *right, lineage=lineage) for i in range(2)],
            [self.peer(f"relay-{i}", 3.0, *between, lineage=lineage, **{"relay": True, **(relay or {})}) for i in range(relays)],
        )
        for peer in groups.everybody:
            peer.start()
            await trio.sleep(phase)
        return groups

    def peer(
        self, name: str, value: float, storages: Iterable[str], announcers: Iterable[str], *, lineage: bytes = LINEAGE, **peer: Any
    ) -> SimulatedPeer:
        media = {"storage": [{"use": side} for side in storages], "announcer": [{"use": side} for side in announcers]}
        made = self.swarm.peer(name, {"w": np.full(4, value, np.float32)}, lambda model: 1, settings={**media, "peer": peer})
        made.trainer.progress = attrs.evolve(made.trainer.progress, lineage=lineage)
        return made

    def said(self, side: str) -> list[Said]:
        return self.swarm.shared(Records).said[side]

    @property
    def plans(self) -> dict[PeerId, Plan]:
        """What goes wrong with the right storage."""
        return self.swarm.shared(Records).plans

    def store(self, side: str) -> MemoryStore:
        return self.swarm.shared(STORES[side])

    def medium(self, side: str) -> MemoryMedium:
        return self.swarm.shared(MEDIA[side])

    def carried(self, relay: SimulatedPeer, side: str) -> set[Cid]:
        """Roots that a relay has put there and that are none of its own."""
        own = {item.root for item in relay.history.published()}
        return {root for peer, root in self.store(side).roots if peer == relay.peer} - own


@asynccontextmanager
async def opened(*, seed: int = 0, **settings: Any) -> AsyncIterator[World]:
    sides = {"storage": {side: storage(side) for side in STORES}, "announcer": {side: announcer(side) for side in MEDIA}}
    tables = {"gate": {"use": "sane"}, "codec": {"use": "fp32"}, **settings}
    async with SimulatedSwarm(seed=seed, settings=tables, level=logging.WARNING, manager=offering(sides)) as swarm:
        yield World(swarm)


@pytest.fixture
def a_world() -> Callable[..., AbstractAsyncContextManager[World]]:
    return opened


@pytest.fixture
def run_world() -> Callable[..., Any]:
    """Runs an async function with a World, once for each call, each in a time of its own; what it returns is returned."""
    return partial(run_within, opened)
