"""`swarm.dataset`: what the file says decides, whatever the program asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import learnae
from learnae.data.own import OwnSlices
from learnae.trainer.swarm import Swarm

ROWS = TensorDataset(torch.arange(200.0).reshape(100, 2), torch.arange(100) % 2)


@pytest.fixture
def join(tmp_path: Path) -> Iterator[Callable[..., Swarm]]:
    made = []

    def make(**data: Any) -> Swarm:
        made.append(learnae.join(nn.Linear(2, 2), "digits", config={"data": data}, home=tmp_path / "home"))
        return made[-1]

    yield make
    for swarm in made:
        swarm.leave()


def test_a_swarm_gives_rows_only_where_its_file_says_so(join: Callable[..., Swarm], tmp_path: Path) -> None:
    silent = join()
    assert len(silent.dataset(ROWS)) == 100
    assert not (tmp_path / "home" / "data").exists()
    silent.leave()
    giving = join(share="slices", share_rows=10, licence="CC0-1.0")
    (features, label) = next(iter(giving.dataset(ROWS).loader(25)))
    assert features.shape == (25, 2) and label.shape == (25,)
    (root,) = OwnSlices(giving.home).roots()
    assert OwnSlices(giving.home).load(root)[0].about.labels == {"0": 5, "1": 5}


def test_two_peers_with_the_same_rows_give_different_ones(join: Callable[..., Swarm], tmp_path: Path) -> None:
    one = join(share="slices", share_rows=10, licence="CC0-1.0")
    one.dataset(ROWS)
    with learnae.join(
        nn.Linear(2, 2), "digits", config={"data": {"share": "slices", "share_rows": 10, "licence": "CC0-1.0"}}, home=tmp_path / "other"
    ) as other:
        other.dataset(ROWS)
        assert OwnSlices(one.home).roots() != OwnSlices(other.home).roots()


def test_who_has_left_gives_no_rows(join: Callable[..., Swarm]) -> None:
    swarm = join(share="slices", share_rows=10, licence="CC0-1.0")
    swarm.leave()
    with pytest.raises(RuntimeError, match="left the swarm"):
        swarm.dataset(ROWS)
    assert OwnSlices(swarm.home).roots() == ()
