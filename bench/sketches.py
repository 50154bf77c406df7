"""What the sketch of a model costs, and how well it tells how different two models are: `python bench/sketches.py [--quick]`.

One thread. Random weights, and others that differ from them everywhere, or in one coordinate of six.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Mapping

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy

import numpy as np
from machine import describe
from tables import show

from learnae.elementwise import Array
from learnae.records import TensorSpec
from learnae.sketches import Sketcher, difference

SHAPES = {
    "digits, 64-32-10": [(32, 64), (32,), (10, 32), (10,)],
    "28-256-256-256-1": [(256, 28), (256,), (256, 256), (256,), (256, 256), (256,), (1, 256), (1,)],
    "large": [(4096, 1024)] * 4 + [(1024, 2048)] + [(2048,)] * 3,
}


def moved(model: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """Everywhere if the seed is odd, else where a weight is above one standard deviation."""
    rng = np.random.default_rng(seed)
    steps = {name: 0.1 * rng.standard_normal(part.shape, np.float32) for name, part in model.items()}
    return {name: part + steps[name] * (1 if seed % 2 else part > 1) for name, part in model.items()}


def true_difference(one: Mapping[str, Array], other: Mapping[str, Array]) -> float:
    def norm(parts: Mapping[str, Array]) -> float:
        return float(np.sqrt(sum(float(np.square(part, dtype=np.float64).sum()) for part in parts.values())))

    return norm({name: one[name] - other[name] for name in one}) / (norm(one) + norm(other))


def main(names: list[str], pairs: int) -> None:
    print(describe(), flush=True)
    rows = []
    for name in names:
        specs = [TensorSpec(name=str(number), dtype="float32", shape=shape) for number, shape in enumerate(SHAPES[name])]
        rng, sketcher = np.random.default_rng(0), Sketcher.for_specs(specs)
        model = {spec.name: rng.standard_normal(spec.shape, np.float32) for spec in specs}
        seconds = []
        for _ in range(20):
            began = time.thread_time()
            own = sketcher.sketch(model)
            seconds.append(time.thread_time() - began)
        errors = []
        for seed in range(pairs):
            other = moved(model, seed)
            errors.append((difference(own, sketcher.sketch(other)) or 0.0) / true_difference(model, other) - 1)
        parameters = sum(spec.count for spec in specs)
        found = [f"{1000 * statistics.median(seconds):.2f}", f"{100 * statistics.pstdev(errors):.1f}"]
        rows.append([name, f"{parameters:,}", *found, f"{100 * max(map(abs, errors)):.1f}"])
    show(
        f"One sketch, and the error of the difference over {pairs} pairs",
        ["model", "parameters", "CPU ms", "standard deviation, %", "largest, %"],
        rows,
    )


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="small and meaningless: whether it runs")
    main(list(SHAPES)[:1], 4) if options.parse_args().quick else main(list(SHAPES), 30)
