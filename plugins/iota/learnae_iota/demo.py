"""The tangle of `learnae demo --announcer iota`: its coordinator is killed half-way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from learnae import DemoSetup
from learnae_iota.devnet import Tangle, find_hornet, free_ports

NODES, DEPTH, MILESTONE_SECONDS = 3, 8, 5


@contextmanager
def tangle(folder: Path) -> Iterator[DemoSetup]:
    """Three Hornets on loopback; the peers name all of them, the coordinator's first."""
    ports = free_ports(NODES)
    with Tangle.running(folder, find_hornet(), ports, depth=DEPTH, milestone_seconds=MILESTONE_SECONDS) as running:
        yield DemoSetup(announcer={"nodes": running.urls}, half_way=lambda: _kill_coordinator(running))


def _kill_coordinator(running: Tangle) -> str:
    running.nodes[0].kill()
    return "the node that issues milestones was killed: the tangle has no coordinator any more"
