"""Sensors for tests: the real sender, under virtual time, on the memory medium of a simulated swarm; and `learnae run` of one."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
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

MOST_RUNS = 10
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


def run_sensor(folder: Path, lines: str) -> tuple[int, subprocess.CompletedProcess[str]]:
    """`learnae run` of the sensor.toml in this folder on these lines. Returns how many readings were sent, and how it ended.

    On a busy machine it ends before all is sent: then the next runs, without more lines, send the rest.
    """
    command, given, sent, ends = [sys.executable, "-m", "learnae", "run", "sensor.toml", "--json"], lines, 0, list[Any]()
    while not ends or ("wait for the next run" in ends[-1].stderr and len(ends) < MOST_RUNS):
        done = subprocess.run(command, input=given, capture_output=True, text=True, cwd=folder, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        said = re.search(r"([0-9]+) readings sent, 0 lost", done.stderr)
        assert said is not None, done.stderr
        given, sent = "", sent + int(said[1])
        ends.append(done)
    return sent, ends[0]


def readings_of(labels: Sequence[int], seed: int = 0) -> list[dict[str, Any]]:
    """One reading for each of these labels."""
    rng = np.random.default_rng(seed)
    return [{"x": rng.random((4, 4), np.float32), "y": label} for label in labels]
