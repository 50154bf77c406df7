"""A minute of bad luck with real processes: all peers go on, they learn as much in as many steps, and no file is left broken."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest

from tests.support.fault_injection.faults import FaultInjector
from tests.support.fault_injection.integrity import broken_files, unfinished_files
from tests.support.fault_injection.machine import JumpingClock, SmallDisk
from tests.support.fault_injection.peers import PeerProcesses
from tests.support.fault_injection.project import Project, moments

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PEERS, STEPS, SEED = 4, 3000, 0
DAY = 86_400.0
LIMIT_SECONDS = 240.0
POINTS = 0.04  # of one run each. Chosen wider than the 0.02 for the means of three; the spread between seeds was not measured


def accuracy(peers: PeerProcesses) -> float:
    """Of all peers, at their last step."""
    return statistics.mean(moments(member)[-1]["metrics"]["accuracy"] for member in peers.members)


def undisturbed(folder: Path, state: Path, seed: int) -> float:
    project = Project(folder, state, PEERS, STEPS)
    project.prepare()
    with PeerProcesses([project.member(number, seed=seed, pause=0.003) for number in range(PEERS)]) as peers:
        peers.tend(time.monotonic() + LIMIT_SECONDS)
        assert peers.done, {member.name: member.ends for member in peers.members}
        return accuracy(peers)


def disturbed(folder: Path, state: Path, seed: int) -> float:
    project, clock = Project(folder, state, PEERS, STEPS), JumpingClock(folder.with_name(f"{folder.name}-clock"))
    project.prepare()
    members = [project.member(number, seed=seed, pause=0.01, PYTHONPATH=str(clock.path)) for number in range(PEERS)]
    with SmallDisk(state) as disk, PeerProcesses(members) as peers:
        faults = FaultInjector(peers, seed)
        faults.inject(20)
        disk.fill()
        faults.inject(9)
        disk.free()
        clock.move(DAY)
        faults.inject(15)
        clock.move(-2 * DAY)
        faults.inject(16)
        peers.tend(time.monotonic() + LIMIT_SECONDS)
        assert peers.done, (faults.injected, {member.name: member.ends for member in members})
        assert broken_files(state) == []
        assert unfinished_files(state) == []
        return accuracy(peers)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a disk of its own that can be filled")
def test_a_minute_of_kills_freezes_a_full_disk_and_jumping_clocks_costs_nothing_but_time(tmp_path: Path) -> None:
    quiet = undisturbed(tmp_path / "quiet", tmp_path / "quiet-state", SEED)
    rough = disturbed(tmp_path / "rough", tmp_path / "rough-state", SEED)
    assert rough > quiet - POINTS
