"""A swarm of honest peers, and strangers who hold keys, sign what they like and put what they like into the storage."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import attrs
import numpy as np
import pytest
import trio

from learnae.content.meta import architecture_of
from learnae.content.pack import Packed, pack
from learnae.identity import envelopes
from learnae.identity.envelopes import encode_envelope
from learnae.identity.keys import Identity
from learnae.identity.swarms import channel, swarm_id
from learnae.plugins.memory import MemoryStore
from learnae.records import Announcement, AnnouncementKind, Body, Cid, Encoded, PeerId, TensorSpec, Update
from learnae.testing.swarm import QUIET, SimulatedPeer, SimulatedSwarm
from tests.support.hostile.announcements import signed
from tests.support.hostile.cheap_signatures import Checks
from tests.support.simulated import LINEAGE, offering, run_within

SWARM = swarm_id("default")
TENSORS = 64  # floats in the model of these tests
SPECS = (TensorSpec(name="w", dtype="float32", shape=(TENSORS,)),)
Entries = Iterable[tuple[TensorSpec, Encoded]]


def values(number: float) -> Encoded:
    return Encoded(np.full(TENSORS, number, "<f4").tobytes())


@attrs.define
class Stranger:
    """A key and no scruples."""

    world: World
    identity: Identity

    @property
    def peer(self) -> PeerId:
        return self.identity.peer

    def pack(self, entries: Entries | None = None, *, number: int = 1, **changes: Any) -> Packed:
        """An update; without entries an honest one, all ones."""
        named = {"peer": self.peer, "kind": AnnouncementKind.UPDATE, "number": number, "codec": "fp32", **changes}
        return pack([(SPECS[0], values(1.0))] if entries is None else entries, **named)

    def store(self, packed: Packed) -> Packed:
        self.world.store.put(self.peer, packed.root, {block.cid: block.data for block in packed.blocks})
        return packed

    def update(self, root: Cid, **changes: Any) -> Update:
        known = Update(
            root=root,
            bytes=2000,
            lineage=LINEAGE,
            architecture=architecture_of(SPECS),
            age=100,
            provisional=False,
            own_steps=100,
            samples=100,
            step_seconds=0.1,
            codec="fp32",
        )
        return attrs.evolve(known, **changes)

    def say(self, body: Body, number: int = 1) -> bytes:
        """Announce; returns the message."""
        return self.send(encode_envelope(self.identity, Announcement(swarm=SWARM, peer=self.peer, number=number, body=body)), body)

    def say_payload(self, payload: bytes) -> bytes:
        """Announce what `encode_envelope` would refuse to make."""
        return self.send(signed(payload, self.identity), payload)

    def send(self, message: bytes, key: object = b"") -> bytes:
        slot = f"{self.peer} {type(key).__name__}".encode()
        self.world.swarm.medium.send(self.peer, (channel(SWARM), slot), message)
        return message


@attrs.define
class World:
    """Honest peers have 64 equal floats as their model, which they do not train unless a test says otherwise."""

    swarm: SimulatedSwarm
    _strangers: int = 0

    @property
    def store(self) -> MemoryStore:
        return self.swarm.shared(MemoryStore)

    def stranger(self) -> Stranger:
        self._strangers += 1
        return Stranger(self, Identity.generate(hashlib.sha256(f"stranger {self._strangers}".encode()).digest()))

    def honest(self, count: int, *, settings: Mapping[str, Any] | None = None) -> list[SimulatedPeer]:
        """Started, in one lineage, of unlike pace: peer i starts at the value i."""
        peers = [
            self.swarm.peer(
                f"honest-{number}",
                {"w": np.full(TENSORS, float(number), np.float32)},
                lambda model: 1,
                round_seconds=lambda number=number: 1.0 + number / 10,
                settings=settings,
            )
            for number in range(count)
        ]
        for peer in peers:
            peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=LINEAGE, age=100)
            peer.start()
        return peers


@asynccontextmanager
async def opened(
    *, seed: int = 0, strategies: Mapping[str, Mapping[str, Any]] | None = None, level: int = QUIET, **settings: Any
) -> AsyncIterator[World]:
    tables = {"gate": [{"use": "sane"}, {"use": "clip"}], "codec": {"use": "fp32"}, **settings}
    async with SimulatedSwarm(seed=seed, settings=tables, manager=offering(strategies or {}), level=level) as swarm:
        yield World(swarm)
        await trio.lowlevel.checkpoint()


@pytest.fixture
def a_world() -> Callable[..., AbstractAsyncContextManager[World]]:
    return opened


@pytest.fixture(scope="session")
def run_world() -> Callable[..., Any]:
    """Runs an async function with a World, once for each call, each in a time of its own; what it returns is returned."""
    return partial(run_within, opened)


def verdicts_about(peer: SimulatedPeer, stranger: Stranger) -> list[Any]:
    return [verdict for report in peer.trainer.reports for verdict in report.verdicts if verdict.peer == stranger.peer]


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    """The signatures that are checked from now on."""
    made = Checks()
    monkeypatch.setattr(envelopes, "verify", made.verify)
    return made
