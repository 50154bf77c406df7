"""The home of a sensor as `learnae status` shows it. A sensor has no history: it has a key, its settings, and the readings that wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from learnae.cli.homes import Processes, processes_of
from learnae.cli.options import ago, counted
from learnae.config.options import build
from learnae.config.saved_config import KeptFile, kept
from learnae.config.tables import SensorTable, SwarmTable
from learnae.errors import UnavailableError
from learnae.identity.keys import identity_in
from learnae.sensing.waiting_readings import FILE, WaitingReadings


def sensor_brief(home: Path) -> dict[str, Any]:
    """Of one of several homes."""
    return {"role": "sensor", "swarm": _swarm(home), "rounds": 0, "error": None}


def sensor_facts(home: Path) -> dict[str, Any]:
    """JSON-ready. Raises ConfigError for a home that is damaged or not this user's, UnavailableError for a disk that cannot be read."""
    settings, processes = kept(home) or KeptFile({}, home), processes_of(home)
    rules = build(SensorTable, settings.table("sensor"), "sensor", settings.folder)
    identity = identity_in(home, looking=True)
    try:
        waiting, at = len(WaitingReadings(home, rules.keep_readings)), (home / FILE).stat().st_mtime
    except OSError as error:
        raise UnavailableError(f"what waits in {home} cannot be read: {error.strerror}") from None
    return {
        "home": str(home),
        "at": time.time(),
        "running": processes.running,
        "pid": _pid(processes),
        "peer": identity.peer if identity is not None else None,
        "role": "sensor",
        "swarm": _swarm(home),
        "columns": dict(rules.columns),
        "waiting": waiting,
        "keep_readings": rules.keep_readings,
        "written_at": at,
    }


def sensor_rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is shown of them."""
    yield "state", f"running: process {found['pid']}" if found["running"] else "not running"
    yield "peer", found["peer"] or "no key yet"
    yield "role", found["role"]
    yield "swarm", found["swarm"] or "not known before its next start"
    yield "columns", ", ".join(f"{name} {kind}" for name, kind in sorted(found["columns"].items())) or "not known before its next start"
    written = ago(found["at"] - found["written_at"])
    yield "waiting", f"{counted(found['waiting'], 'reading')} to be sent, of {found['keep_readings']:,} that are kept, as of {written} ago"
    yield "sent", "a sensor keeps no count of it: `learnae run` tells it while it runs, and gatherers have what came"


def _swarm(home: Path) -> str | None:
    settings = kept(home)
    return build(SwarmTable, settings.table("swarm"), "swarm", settings.folder).name if settings is not None else None


def _pid(processes: Processes) -> int | None:
    return processes.trainer if processes.trainer is not None else processes.node
