"""Who changes the pool of a peer again and again, by slices of ever new identities, costs its training no more than a twentieth."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from learnae.config.tables import DataTable
from learnae.data import pool_reader
from learnae.data.pool import Pool
from learnae.data.pool_file import ReadIndex, read_index
from learnae.data.pool_reader import SAVED_SECONDS, SHARE, PoolReader
from learnae.identity.home_folder import HomeFolder
from learnae.records import Cid, PeerId
from learnae.trainer import loader
from learnae.trainer.dataset import SwarmDataset, make_dataset
from tests.support.slices import one_slice, root_of

QUOTA = 1 << 20


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Moved by hand."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def add(home: Path, number: int) -> None:
    made = one_slice({"x": np.full((4, 2), number, np.float32), "y": np.arange(4)}, "y")
    Pool(home, QUOTA).add(root_of(made), made, PeerId(f"{number:064x}"))


def dataset_in(home: Path) -> SwarmDataset:
    rows = {"x": np.zeros((8, 2), np.float32), "y": np.arange(8)}
    return make_dataset(rows, home, DataTable(accept_bytes=QUOTA), peer="3" * 64, label="y")


@pytest.mark.parametrize("seconds", [0.002, 0.015, 0.1])
def test_however_little_one_look_at_a_change_takes_all_together_take_a_twentieth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float], seconds: float
) -> None:
    looked = 0.0

    def slow(data: HomeFolder, before: ReadIndex) -> ReadIndex:
        nonlocal looked
        clock[0] += seconds
        looked += seconds
        return read_index(data, before)

    monkeypatch.setattr(pool_reader, "read_index", slow)
    reader, began = PoolReader(tmp_path), clock[0]
    for number in range(150):
        add(tmp_path, number)
        reader.refresh()
        clock[0] += 0.02
    assert 0 < looked <= SHARE * (clock[0] - began) + SAVED_SECONDS + seconds


def test_what_a_training_makes_of_a_change_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    """To shuffle very many new rows takes longer than to read that they are there."""
    shuffle, shuffled = loader._all_of, 0.0

    def slow(slices: tuple[tuple[Cid, int], ...], roots: set[Cid] | None = None) -> np.ndarray:
        nonlocal shuffled
        clock[0] += 0.1
        shuffled += 0.1
        return shuffle(slices, roots)

    monkeypatch.setattr(loader, "_all_of", slow)
    batches, began = dataset_in(tmp_path).batches(2, foreign=0.0), clock[0]
    for number in range(50):
        add(tmp_path, number)
        batches.deal()
        clock[0] += 0.2
    assert 0 < shuffled <= SHARE * (clock[0] - began) + SAVED_SECONDS + 0.1


def test_a_row_is_found_without_a_look_at_all_slices_that_have_ever_come(tmp_path: Path) -> None:
    dataset = dataset_in(tmp_path)
    for number in range(2000):
        dataset._seen.add(Cid(f"{number}"))
        dataset._roots.append(Cid(f"{number}"))
        dataset._ends.append(8 + 4 * (number + 1))
    tracemalloc.start()
    try:
        assert dataset._named(8 + 4 * 1500 + 1) == ("1500", 1)
        assert tracemalloc.get_traced_memory()[1] < 2000
    finally:
        tracemalloc.stop()
