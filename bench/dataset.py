"""Samples per second of a `SwarmDataset`, half of each batch from the pool, compared with a `TensorDataset` of the same rows.

Run it with `python bench/dataset.py`. Both through a DataLoader, in turn; medians of 5 epochs.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from machine import describe
from tables import show
from torch.utils.data import DataLoader, TensorDataset

from learnae.config.tables import DataTable
from learnae.data.pool import Pool
from learnae.data.schema import schema_of
from learnae.data.slices import make_slices, pack_slice
from learnae.records import PeerId
from learnae.trainer.dataset import make_dataset

ROWS = 10_000  # own ones; as many are of others
BATCH = 64
REPEATS = 5
GIVER = PeerId("1" * 64)
SHAPES: dict[str, tuple[int, ...]] = {"64 numbers": (64,), "28 x 28": (1, 28, 28), "3 x 32 x 32": (3, 32, 32)}


def rows(count: int, shape: tuple[int, ...], seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"features": rng.random((count, *shape), np.float32), "label": rng.integers(0, 10, count)}


def fill(home: Path, arrays: dict[str, Any], rows_each: int) -> None:
    for one in make_slices(arrays, schema_of(arrays, "label"), most_rows=rows_each):
        Pool(home, 1 << 40).add(pack_slice(one).packed.root, one, GIVER)


def rate(batches: Iterable[Any], count: int) -> float:
    began = time.perf_counter()
    seen = sum(len(batch[0]) for batch in batches)
    assert seen == count, f"{seen} rows, and not {count}"
    return seen / (time.perf_counter() - began)


def measure(count: int, shape: tuple[int, ...], rows_each: int, workers: int, repeats: int) -> tuple[float, float]:
    """Medians, of the TensorDataset and of ours."""
    own, theirs = rows(count, shape, 1), rows(count, shape, 2)
    tensors = TensorDataset(*(torch.from_numpy(np.concatenate([own[name], theirs[name]])) for name in own))
    more: Any = {"num_workers": workers, "persistent_workers": workers > 0}
    plain = DataLoader(tensors, batch_size=BATCH, shuffle=True, **more)
    with tempfile.TemporaryDirectory(prefix="learnae-bench-") as folder:
        fill(Path(folder), theirs, rows_each)
        loader = make_dataset(tuple(own.values()), Path(folder), DataTable(accept_bytes=1 << 40), peer="bench").loader(BATCH, **more)
        pairs = [(rate(plain, 2 * count), rate(loader, 2 * count)) for _ in range(repeats + 1)][1:]
    return statistics.median(first for first, _ in pairs), statistics.median(second for _, second in pairs)


@click.command()
@click.option("--quick", is_flag=True, help="Only show that it runs.")
def main(quick: bool) -> None:
    """Print the machine and one table."""
    torch.set_num_threads(1)
    print(describe())
    count, repeats = (500, 1) if quick else (ROWS, REPEATS)
    table = []
    for name, shape in SHAPES.items():
        for rows_each, workers in ((500, 0), (20, 0), (500, 2)):
            plain, ours = measure(count, shape, rows_each, workers, repeats)
            slices = -(-count // rows_each)
            table.append((f"{name}, {slices:,} slices, {workers} workers", f"{plain:,.0f}", f"{ours:,.0f}", f"{ours / plain:.2f}"))
    show("Samples per second", ("rows", "TensorDataset, samples/s", "swarm.dataset, samples/s", "ratio"), table)


if __name__ == "__main__":
    main()
