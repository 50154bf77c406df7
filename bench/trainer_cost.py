"""What Learnae costs the training loop: a step with nothing due, a snapshot, an adoption, by size of the model; and in all.

Run it with `python bench/trainer_cost.py [--quick]`. One thread; medians of 21 after two warm-up rounds; the model has moved before an
adoption unless it says otherwise.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import describe
from tables import show
from task import make_model
from throughput import show_throughput

import learnae
from learnae.trainer.copying import ModelCopier
from learnae.trainer.shared import find_shared
from learnae.trainer.shared_memory import SharedMemory

STEPS = 1_000_000
REPEATS = 21
WIDTHS = {"0.14 M": (28, 256, 256, 256, 1), "18.9 M": (1024, 3072, 3072, 2048), "100.7 M": (4096, 8192, 8192)}


def main(sizes: list[str], steps: int, repeats: int, peers: int) -> None:
    torch.set_num_threads(1)
    print(describe())
    print(f"\nA step with nothing due: {step_microseconds():.2f} microseconds")
    rows = [(name, *(f"{value:.2f}" for value in copy_milliseconds(make_model(0, WIDTHS[name])))) for name in sizes]
    show("What stops the trainer, ms", ("parameters", "snapshot", "adoption", "adoption, unmoved"), rows)
    show_throughput(steps, repeats, peers)


def step_microseconds() -> float:
    with tempfile.TemporaryDirectory() as home, learnae.join(make_model(0, (4, 4)), "bench", home=Path(home) / "home") as swarm:
        swarm.flush()
        swarm._session.due = STEPS * 2  # nothing falls due while we look
        began = time.perf_counter()
        for _ in range(STEPS):
            swarm.step(32)
        return (time.perf_counter() - began) / STEPS * 1e6


def copy_milliseconds(model: torch.nn.Module) -> tuple[float, float, float]:
    shared = find_shared(model)
    area = SharedMemory(shared.specs)
    copier = ModelCopier(shared.places, area.slots, area.pages)
    snapshot = median(lambda: copier.snapshot(0, steps=0))
    moved = median(lambda: copier.adopt(0, 0, steps=1))
    unmoved = median(lambda: copier.adopt(0, 0, steps=0), before=lambda: copier.snapshot(0, steps=0))
    return snapshot, moved, unmoved


def median(action: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    times = []
    for _ in range(REPEATS + 2):
        before()
        began = time.perf_counter()
        action()
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times[2:])


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="short, and the smallest model only: whether it runs")
    quick = options.parse_args().quick
    main(list(WIDTHS)[: 1 if quick else None], 100 if quick else 1000, 1 if quick else 3, 2 if quick else 4)
