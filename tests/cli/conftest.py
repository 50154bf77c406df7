"""A project as `learnae run` wants it, whose functions a test writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

TRAIN = """
import multiprocessing, time
import numpy as np
import torch
import learnae

torch.set_num_threads(1)
{more}

def make_trainer():
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=np.float64(0.01))
    fields = dict(batches=lambda: torch.ones(32, 4).split(8), loss=lambda model, x: model(x).square().mean(), evaluate_steps=20)
    return learnae.TrainingLoop(model=model, optimizer=optimizer, **{{**fields, {fields}}})
"""
FILE = '[swarm]\nname = "one"\n[peer]\nhome = "home"\n[train]\nentry = "train:make_trainer"\n'


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., None]:
    """Writes it into the folder of the test: with these fields of the trainer in place of the usual ones, and more of the module."""

    def write(fields: str = "", more: str = "") -> None:
        (tmp_path / "learnae.toml").write_text(FILE)
        (tmp_path / "train.py").write_text(TRAIN.format(fields=fields, more=more))

    return write
