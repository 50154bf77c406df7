"""The memory (PSS) of trainer and node, and whether it grows: `python bench/memory.py [--quick] [--rounds N]`.

First four peers train the common task (139,265 parameters). Then two peers of a tiny model make as many rounds as they can, and a line is
laid through the memory that the first one's two processes have for themselves from round 200 on.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import psutil
from crew import Worker, crew, meet, peers
from machine import describe
from tables import show

SETTLED = 200  # rounds: caches are full, windows have their length
EVERY = 50  # rounds between two looks
TINY = (8, 8, 4)
MIB = 2**20


def main(seconds: float, rounds: int, count: int) -> None:
    print(describe())
    show_sizes(seconds, count)
    show_slopes(rounds)


def show_sizes(seconds: float, count: int) -> None:
    spec = {"job": "train", "way": "learnae", "seed": 0, "steps": 10**9, "rows": 50_000, "test_rows": 1, "shares": count, "local_steps": 50}
    with crew(peers(count, **spec)) as workers:
        meet(workers)
        time.sleep(seconds)
        rows = [_sizes(worker) for worker in workers]
    header = ("peer", "trainer", "node", "together", "torch in the node")
    show(f"Memory of {count} peers with 139,265 parameters after {seconds:.0f} s, PSS in MiB", header, rows)


def _sizes(worker: Worker) -> tuple[str, ...]:
    trainer, (node,) = psutil.Process(worker.process.pid), worker.nodes
    maps = {Path(entry.path).name for entry in node.memory_maps(grouped=True)}
    inside = any(name.startswith("libtorch") for name in maps)
    own, nodes = pss(trainer), pss(node)
    return (str(worker.rank), f"{own:.1f}", f"{nodes:.1f}", f"{own + nodes:.1f}", "yes" if inside else "no")


def show_slopes(rounds: int) -> None:
    spec = {"job": "rounds", "way": "learnae", "seed": 0, "widths": TINY, "rounds": 10**9, "local_steps": 1, "free": True}
    with crew(peers(2, **spec)) as workers:
        meet(workers)
        began, seen = time.monotonic(), np.array(_watch(workers, rounds))
        took = time.monotonic() - began
    late = seen[seen[:, 0] >= min(SETTLED, seen[-1, 0] / 2)]  # of the rounds that there were: on a full machine not each one merges
    slopes = np.polyfit(late[:, 0], late[:, 1:], 1)[0] * 1000
    rows = [
        (who, f"{late[0, place]:.2f}", f"{late[-1, place]:.2f}", f"{slopes[place - 1]:.2f}") for place, who in ((1, "trainer"), (2, "node"))
    ]
    header = ("", f"after round {late[0, 0]:.0f}", f"after round {late[-1, 0]:.0f}", "slope, MiB per 1,000 rounds")
    show(f"Growth over {rounds} rounds in {took:.0f} s, own memory (USS) in MiB", header, rows)


def _watch(workers: list[Worker], rounds: int) -> list[tuple[float, float, float]]:
    """(Round, MiB of the trainer, MiB of the node) of the first peer, while both go on."""
    (node,), trainer = workers[0].nodes, psutil.Process(workers[0].process.pid)
    seen = []
    for number in range(rounds + 1):
        line = workers[0].hear_until("round")[-1]
        if number % EVERY == 0:
            seen.append((line["merges"], uss(trainer), uss(node)))
    return seen


def pss(process: psutil.Process) -> float:
    """Its own memory, and its share of what it has in common with others."""
    return float(process.memory_full_info().pss) / MIB


def uss(process: psutil.Process) -> float:
    """Its own alone: the share of a common library grows whenever somebody else ends."""
    return float(process.memory_full_info().uss) / MIB


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="short and meaningless: whether it runs")
    options.add_argument("--rounds", type=int, default=2200)
    chosen = options.parse_args()
    main(2.0 if chosen.quick else 30.0, 100 if chosen.quick else chosen.rounds, 2 if chosen.quick else 4)
