"""Swarms with strategies of their own: storages and announcers that fail when they are told to, and whatever a test brings."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import attrs
import numpy as np
import pytest
import trio

from learnae.plugins.memory import MemoryAnnouncer, MemoryStorage, MemoryStore
from learnae.records import PeerId
from learnae.strategies import Strategy
from learnae.testing.faults import Fault, FaultyAnnouncer, FaultyStorage, Plan
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.support.simulated import LINEAGE, offering, run_within


@attrs.define
class Weather:
    """What goes wrong at whom, by the kind of service; changed by the test at any moment."""

    storage: dict[PeerId, Plan] = attrs.field(factory=dict)
    announcer: dict[PeerId, Plan] = attrs.field(factory=dict)
    at_start: dict[PeerId, list[BaseException]] = attrs.field(factory=dict)
    sent: list[tuple[bytes, bytes]] = attrs.field(factory=list)  # what each message replaces, and the message

    def of_storage(self, peer: PeerId) -> Plan:
        return lambda method, call: self._fault(self.storage, peer, method, call)

    def of_announcer(self, peer: PeerId) -> Plan:
        return lambda method, call: self._fault(self.announcer, peer, method, call)

    def _fault(self, plans: Mapping[PeerId, Plan], peer: PeerId, method: str, call: int) -> Fault | None:
        return plans[peer](method, call) if peer in plans else None


class Stormy(FaultyStorage):
    def __init__(self, options, context) -> None:
        self.weather = context.share(Weather)
        super().__init__(MemoryStorage(options, context), self.weather.of_storage(context.peer))

    async def __aenter__(self):
        if errors := self.weather.at_start.get(self.context.peer):
            raise errors.pop(0)
        return await super().__aenter__()


class StormyAnnouncer(FaultyAnnouncer):
    max_bytes = MemoryAnnouncer.max_bytes

    def __init__(self, options, context) -> None:
        self.weather = context.share(Weather)
        super().__init__(MemoryAnnouncer(options, context), self.weather.of_announcer(context.peer))

    async def announce(self, message, *, channel, replaces):
        self.weather.sent.append((replaces, message))
        await super().announce(message, channel=channel, replaces=replaces)


class SecondStore(MemoryStore):
    pass


class Second(MemoryStorage):
    """Memory apart from that of the first."""

    def __init__(self, options, context) -> None:
        super().__init__(options, context)
        self.store = context.share(SecondStore)


Strategies = Mapping[str, Mapping[str, type[Strategy]]]
Watchers = Mapping[str, Callable[..., None]]

BUILT_IN: Strategies = {
    "storage": {"stormy": Stormy, "second": Second},
    "announcer": {"stormy": StormyAnnouncer},
}

DEFAULTS = {"storage": {"use": "stormy"}, "announcer": {"use": "stormy"}, "gate": {"use": "sane"}, "codec": {"use": "fp32"}}


Two = tuple[SimulatedPeer, SimulatedPeer]


@attrs.define
class World:
    """A swarm of peers that have a number as their model and do not train, unless the test says otherwise."""

    swarm: SimulatedSwarm

    @property
    def weather(self) -> Weather:
        return self.swarm.shared(Weather)

    @property
    def store(self) -> MemoryStore:
        return self.swarm.shared(MemoryStore)

    def peer(self, name: str, value: Any = 0.0, *, lineage: bytes = b"", train=lambda model: 1, **options: Any) -> SimulatedPeer:
        model = value if isinstance(value, dict) else {"w": np.full(4, value, np.float32)}
        peer = self.swarm.peer(name, model, train, **options)
        peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=lineage)
        return peer

    def two(self, first: Any = 0.0, second: Any = 8.0, *, lineages: Sequence[bytes] = (LINEAGE, LINEAGE), **of_a: Any) -> Two:
        """Start a, with these options, and an ordinary b beside it."""
        return self.peer("a", first, lineage=lineages[0], **of_a).start(), self.peer("b", second, lineage=lineages[1]).start()

    async def two_for(self, seconds: float, *models: Any, **settings_of_a: Any) -> Two:
        """The same, as they are after so long."""
        both = self.two(*models, settings=settings_of_a)
        await trio.sleep(seconds)
        return both


@asynccontextmanager
async def opened(
    *, strategies: Strategies | None = None, watchers: Watchers | None = None, seed: int = 0, **settings: Any
) -> AsyncIterator[World]:
    """A World with these settings; what one test adds of strategies and watchers comes to those that there are."""
    more = strategies or {}
    manager = offering({kind: {**BUILT_IN.get(kind, {}), **more.get(kind, {})} for kind in {*BUILT_IN, *more}}, watchers)
    async with SimulatedSwarm(seed=seed, settings={**DEFAULTS, **settings}, level=logging.INFO, manager=manager) as swarm:
        yield World(swarm)
        await trio.lowlevel.checkpoint()


@pytest.fixture
def a_world() -> Callable[..., AbstractAsyncContextManager[World]]:
    return opened


@pytest.fixture
def run_world() -> Callable[..., Any]:
    """Runs an async function with a World, once for each call, each in a time of its own; what it returns is returned."""
    return partial(run_within, opened)
