"""Sensors for tests: the real sender, under virtual time, on the memory medium of a simulated swarm."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import structlog

from learnae.config.rules import swarm_of
from learnae.data.readings import ReadingFormat, declared
from learnae.identity.keys import Identity
from learnae.node.runtime import inline
from learnae.plugins.memory import MemoryAnnouncer
from learnae.records import PeerId
from learnae.sensing.announcers import OpenAnnouncer
from learnae.sensing.sending import SampleSender
from learnae.sensing.waiting_readings import WaitingReadings
from learnae.strategies import NoOptions
from learnae.testing.context import make_context
from learnae.testing.swarm import SimulatedSwarm

COLUMNS = {"x": "float32[4, 4]", "y": "int64"}
"""Those of `tests.support.rows.digits`, whose label is y."""


@attrs.define
class SimulatedSensor:
    """A sensor of this swarm. Its numbers and what waits lie in a folder of its own, so that it may be started again."""

    swarm: SimulatedSwarm
    name: str
    columns: Mapping[str, str] = attrs.field(factory=lambda: dict(COLUMNS))
    licence: str = "CC0-1.0"
    message_seconds: float = 2.0
    keep: int = 1000
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    sender: SampleSender = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        home = self.swarm.folder / self.name
        home.mkdir(mode=0o700, exist_ok=True)
        identity = Identity.generate(hashlib.sha256(f"{self.swarm.seed}/{self.name}".encode()).digest())
        context = attrs.evolve(make_context(home, shared=self.swarm.shared), peer=identity.peer)
        log = structlog.get_logger()
        announcer = OpenAnnouncer("announcer memory", "learnae", MemoryAnnouncer(NoOptions(), context), log)
        packing = ReadingFormat(declared(self.columns, "y" if "y" in self.columns else None), self.licence)
        readings, swarm = WaitingReadings(home, self.keep), swarm_of(self.swarm.config(self.settings).swarm)
        self.sender = SampleSender(identity, swarm, packing, readings, [announcer], self.message_seconds, log, inline)

    @property
    def peer(self) -> PeerId:
        return self.sender.identity.peer

    def start(self) -> SimulatedSensor:
        self.swarm.nursery.start_soon(self.sender.run)
        return self

    def read(self, *readings: Mapping[str, Any]) -> None:
        for reading in readings:
            self.sender.readings.add(self.sender.packing.pack(reading))
        self.sender.wake()


def readings_of(labels: Sequence[int], seed: int = 0) -> list[dict[str, Any]]:
    """One reading for each of these labels."""
    rng = np.random.default_rng(seed)
    return [{"x": rng.random((4, 4), np.float32), "y": label} for label in labels]
