"""What kills cost: the useful steps of a swarm under fire against those of the same swarm left alone.

`python bench/chaos.py [--peers 32] [--seconds 1800] [--kills 62] [--quiet-seconds 300] [--quick]`
A step is useful if the last checkpoint holds it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import attrs
import torch
from machine import describe

from tests.support.fault_injection.faults import FaultInjector
from tests.support.fault_injection.integrity import broken_files
from tests.support.fault_injection.peers import PeerProcess, PeerProcesses
from tests.support.fault_injection.project import Project, moments

START_SECONDS = 600.0
NEVER = 10**9  # steps
QUICK = {"peers": 2, "seconds": 5.0, "kills": 2, "quiet_seconds": 5.0}
PAUSE = 0.05  # seconds between two steps of a peer, so that 32 of them leave the machine idle at times


@attrs.frozen
class Outcome:
    steps_per_second: float
    accuracy: float
    merged: int
    broken: int


def main(peers: int, seconds: float, kills: int, quiet_seconds: float) -> None:
    print(describe(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        quiet, _ = measure(Path(folder) / "quiet", peers, quiet_seconds, kills=0)
        rough, faults = measure(Path(folder) / "rough", peers, seconds, kills=kills)
    print(f"\n{peers} peers; {seconds:.0f} s with {', '.join(f'{count} {deed}' for deed, count in sorted(faults.injected.items()))}\n")
    print("| | undisturbed | under fire |\n| --- | --- | --- |")
    print(f"| useful steps a second, all peers | {quiet.steps_per_second:.0f} | {rough.steps_per_second:.0f} |")
    print(f"| goodput | 1 | {rough.steps_per_second / quiet.steps_per_second:.3f} |")
    print(f"| accuracy, mean of the peers | {quiet.accuracy:.3f} | {rough.accuracy:.3f} |")
    print(f"| broken files | {quiet.broken} | {rough.broken} |")


def measure(folder: Path, peers: int, seconds: float, *, kills: int) -> tuple[Outcome, FaultInjector]:
    project = Project(folder, folder / "state", peers, NEVER)
    project.prepare()
    with PeerProcesses([project.member(number, seed=0, pause=PAUSE) for number in range(peers)]) as processes:
        wait_for_all(processes)
        before = sum(map(steps, processes.members))
        faults = FaultInjector(processes, seed=0, pause=seconds / max(kills, 1))
        began = time.monotonic()
        if kills:
            faults.inject(seconds)
        else:
            processes.tend(began + seconds)
        made, took = sum(map(steps, processes.members)) - before, time.monotonic() - began
        last = [told[-1] for member in processes.members if (told := moments(member))]
    accuracy = statistics.mean(moment["metrics"]["accuracy"] for moment in last)
    return Outcome(made / took, accuracy, sum(moment["merged"] for moment in last), len(broken_files(project.state))), faults


def wait_for_all(processes: PeerProcesses) -> None:
    """Until each has a checkpoint, and has told how good it is."""
    deadline = time.monotonic() + START_SECONDS
    while not all(steps(member) and moments(member) for member in processes.members):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not every peer was training after {START_SECONDS:.0f} s")
        processes.tend(time.monotonic() + 1)


def steps(member: PeerProcess) -> int:
    """In the last checkpoint."""
    try:
        return int(torch.load(member.home / "checkpoint" / "checkpoint.pt", weights_only=True)["swarm"]["steps"])
    except FileNotFoundError:
        return 0


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--peers", type=int, default=32)
    options.add_argument("--seconds", type=float, default=1800.0)
    options.add_argument("--kills", type=int, default=62)
    options.add_argument("--quiet-seconds", type=float, default=300.0)
    options.add_argument("--quick", action="store_true", help="small and meaningless: whether it runs")
    chosen = vars(options.parse_args())
    main(**(QUICK if chosen.pop("quick") else chosen))
