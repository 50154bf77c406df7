"""What the demo's peers stand on: where their blocks lie."""

from __future__ import annotations

from typing import Any

from learnae.demo.plan import Plan, Stage
from learnae.identity.swarm_keys import SwarmKey

EMBEDDED = "directory"
ON_LOOPBACK: dict[str, dict[str, Any]] = {"ipfs": {"listen": ["/ip4/127.0.0.1/tcp/0"]}}  # options that keep it on this machine
STEPS_PER_SECOND = 40.0  # daemons share the cores
LIMIT_SECONDS = 300.0  # a daemon for each peer has to be paid for


def table(storage: str) -> dict[str, Any]:
    """The choice of it in a peer's file."""
    return {"use": storage, **ON_LOOPBACK.get(storage, {})}


def plan(storage: str, stage: Stage) -> Plan:
    """The play on this storage. Beyond the embedded one the swarm is a private one: its key is made here."""
    if storage == EMBEDDED:
        return Plan()
    stage.key.touch(mode=0o600)
    stage.key.write_text(SwarmKey.generate().text())
    tables = {"storage": [table(storage)], "swarm": {"key_file": str(stage.key)}}
    return Plan(scenery=tables, steps_per_second=STEPS_PER_SECOND, limit_seconds=LIMIT_SECONDS)
