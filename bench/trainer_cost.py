"""What Learnae costs the training loop: a step with nothing due, a snapshot, an adoption, by size of the model.

Run it with `python bench/trainer_cost.py`. One thread; medians of 21 after two warm-up rounds; the model has moved before each adoption.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import describe

import learnae
from learnae.trainer.area import Area
from learnae.trainer.copying import Copier
from learnae.trainer.shared import find_shared

STEPS = 1_000_000
REPEATS = 21
WIDTHS = {"0.14 M": (28, 256, 256, 256, 1), "18.9 M": (1024, 3072, 3072, 2048), "100 M": (4096, 8192, 8192)}


def main() -> None:
    torch.set_num_threads(1)
    print(describe())
    print(f"step with nothing due: {step_microseconds():.2f} microseconds")
    print(f"{'parameters':>12} {'snapshot ms':>12} {'adoption ms':>12} {'adoption, unmoved ms':>22}")
    for widths in WIDTHS.values():
        model = network(widths)
        count = sum(parameter.numel() for parameter in model.parameters())
        snapshot, moved, unmoved = copy_milliseconds(model)
        print(f"{count:>12,} {snapshot:>12.2f} {moved:>12.2f} {unmoved:>22.2f}")


def network(widths: tuple[int, ...]) -> torch.nn.Module:
    return torch.nn.Sequential(*(torch.nn.Linear(*pair) for pair in itertools.pairwise(widths)))


def step_microseconds() -> float:
    with tempfile.TemporaryDirectory() as home, learnae.join(network((4, 4)), home=Path(home) / "home") as swarm:
        swarm.flush()
        swarm._contact.due = STEPS * 2  # nothing falls due while we look
        began = time.perf_counter()
        for _ in range(STEPS):
            swarm.step(32)
        return (time.perf_counter() - began) / STEPS * 1e6


def copy_milliseconds(model: torch.nn.Module) -> tuple[float, float, float]:
    shared = find_shared(model)
    area = Area(shared.specs)
    copier = Copier(shared.places, area.slots, area.pages)
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
    main()
