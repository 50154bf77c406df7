"""A minute of bad luck with real processes: all peers go on, they learn as much in as many steps, and no file is left broken."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest

from tests.support.chaos.herd import Herd
from tests.support.chaos.machine import JumpingClock, SmallDisk
from tests.support.chaos.monkey import Monkey
from tests.support.chaos.project import Project, moments
from tests.support.chaos.wreckage import broken_files, unfinished_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PEERS, STEPS, SEEDS = 4, 3000, (0, 1, 2)
DAY = 86_400.0
LIMIT_SECONDS = 240.0
POINTS = 0.02


def accuracy(herd: Herd) -> float:
    """Of all peers, at their last step."""
    return statistics.mean(moments(member)[-1]["metrics"]["accuracy"] for member in herd.members)


def undisturbed(folder: Path, state: Path, seed: int) -> float:
    project = Project(folder, state, PEERS, STEPS)
    project.prepare()
    with Herd([project.member(number, seed=seed, pause=0.003) for number in range(PEERS)]) as herd:
        herd.tend(time.monotonic() + LIMIT_SECONDS)
        assert herd.done, {member.name: member.ends for member in herd.members}
        return accuracy(herd)


def disturbed(folder: Path, state: Path, seed: int) -> float:
    project, clock = Project(folder, state, PEERS, STEPS), JumpingClock(folder.with_name(f"{folder.name}-clock"))
    project.prepare()
    members = [project.member(number, seed=seed, pause=0.01, PYTHONPATH=str(clock.path)) for number in range(PEERS)]
    with SmallDisk(state) as disk, Herd(members) as herd:
        monkey = Monkey(herd, seed)
        monkey.rage(20)
        disk.fill()
        monkey.rage(9)
        disk.free()
        clock.move(DAY)
        monkey.rage(15)
        clock.move(-2 * DAY)
        monkey.rage(16)
        herd.tend(time.monotonic() + LIMIT_SECONDS)
        assert herd.done, (monkey.deeds, {member.name: member.ends for member in members})
        assert broken_files(state) == []
        assert unfinished_files(state) == []
        return accuracy(herd)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a disk of its own that can be filled")
def test_a_minute_of_kills_freezes_a_full_disk_and_jumping_clocks_costs_nothing_but_time(tmp_path: Path) -> None:
    quiet = [undisturbed(tmp_path / f"quiet-{seed}", tmp_path / f"quiet-state-{seed}", seed) for seed in SEEDS]
    rough = [disturbed(tmp_path / f"rough-{seed}", tmp_path / f"rough-state-{seed}", seed) for seed in SEEDS]
    assert statistics.mean(rough) > statistics.mean(quiet) - POINTS, (quiet, rough)
