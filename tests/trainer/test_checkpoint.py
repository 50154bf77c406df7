from __future__ import annotations

import io
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import torch
from torch import nn

from learnae.errors import ConfigError
from learnae.link.messages import MergeResult
from learnae.trainer import checkpoint
from learnae.trainer.checkpoint import FILE, PREVIOUS

LOG = structlog.get_logger()


def net() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(2, 2)
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(()).item()


def test_a_trainer_goes_on_where_it_was_captured(make_swarm: Any, folder: Path) -> None:
    model, optimizer = net()
    swarm = make_swarm(model, start=False)
    train(model, optimizer)
    swarm.step(num_samples=5)
    swarm._session.model_progress.adopted(MergeResult("session", 1, 0, 0, b"lineage8", 0, "founded"))
    checkpoint.save(folder, checkpoint.capture(model, optimizer, swarm))
    expected = draws()
    other, its_optimizer = net()
    state = checkpoint.newest(folder, LOG)
    assert state is not None
    checkpoint.restore(state, other, its_optimizer)
    assert draws() == expected
    status = make_swarm(other, start=False, resume=state["swarm"]).status
    assert (status.lineage, status.age, status.steps, status.samples) == (b"lineage8", 1, 1, 5)
    train(model, optimizer)
    train(other, its_optimizer)
    assert torch.equal(model.weight, other.weight)


def test_residues_of_low_precision_parameters_are_in_the_checkpoint(make_swarm: Any, folder: Path) -> None:
    model = nn.Linear(2, 2).bfloat16()
    swarm = make_swarm(model, start=False)
    swarm._session._copier.residues["weight"].fill_(0.001)
    checkpoint.save(folder, {"swarm": swarm.state_dict()})
    other = make_swarm(nn.Linear(2, 2).bfloat16(), start=False)
    state = checkpoint.newest(folder, LOG)
    assert state is not None
    other.load_state_dict(state["swarm"])
    assert torch.equal(other._session._copier.residues["weight"], torch.full((2, 2), 0.001))


def test_residues_of_another_model_are_left_alone(make_swarm: Any) -> None:
    copier = make_swarm(nn.Linear(2, 1).bfloat16(), start=False)._session._copier
    copier.load_residues({"bias": torch.tensor([0.25]), "weight": torch.ones(3), "unknown": torch.zeros(1)})
    assert copier.residues["bias"].tolist() == [0.25] and copier.residues["weight"].tolist() == [[0.0, 0.0]]


def test_further_parts_are_captured(make_swarm: Any) -> None:
    model, optimizer = net()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    swarm = make_swarm(model, start=False)
    optimizer.step()
    scheduler.step()
    state = checkpoint.capture(model, optimizer, swarm, scheduler=scheduler, nothing=None)
    other, its_optimizer = net()
    its_scheduler = torch.optim.lr_scheduler.StepLR(its_optimizer, 1)
    checkpoint.restore(state, other, its_optimizer, scheduler=its_scheduler, nothing=None)
    assert its_scheduler.last_epoch == 1


def test_there_is_nothing_in_an_empty_or_missing_folder(folder: Path) -> None:
    assert checkpoint.newest(folder, LOG) is checkpoint.newest(folder / "missing", LOG) is None


@pytest.mark.parametrize("damage", ["half", "empty", "noise", "newer"])
def test_a_broken_checkpoint_is_reported_and_the_previous_one_used(folder: Path, damage: str) -> None:
    for step in (1, 2):
        checkpoint.save(folder, {"step": step, "x": torch.zeros(1000)})
    whole = (folder / FILE).read_bytes()
    newer = io.BytesIO()
    torch.save({"step": 2, "scheduler": {"learnae.kind": "of a newer Learnae", "of": []}}, newer)
    (folder / FILE).write_bytes(
        {"newer": newer.getvalue(), "half": whole[: len(whole) // 2], "empty": b"", "noise": b"noise" * 100}[damage]
    )
    with structlog.testing.capture_logs() as logs:
        state = checkpoint.newest(folder, structlog.get_logger())
    assert state is not None and state["step"] == 1
    assert [(log["event"], log["path"]) for log in logs] == [("checkpoint.unreadable", str(folder / FILE))]


def test_if_all_are_broken_nobody_starts_anew_in_silence(folder: Path) -> None:
    (folder / FILE).write_bytes(b"")
    with pytest.raises(ConfigError, match="move them away"):
        checkpoint.newest(folder, LOG)


@pytest.mark.parametrize("moment", ["write", "between the renames"])
def test_a_crash_while_saving_leaves_a_whole_checkpoint(folder: Path, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(folder, {"step": 1})

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    if moment == "write":
        monkeypatch.setattr("os.fsync", crash)
    else:
        replace = os.replace
        monkeypatch.setattr("os.replace", lambda one, other, **more: replace(one, other, **more) if other == PREVIOUS else crash())
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(folder, {"step": 2})
    state = checkpoint.newest(folder, LOG)
    assert state is not None and state["step"] == 1


def test_a_malicious_pickle_is_not_run(folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (folder / "ran",))

    checkpoint.save(folder, {"x": Evil()})
    with pytest.raises(ConfigError):
        checkpoint.newest(folder, LOG)
    assert not (folder / "ran").exists()


def test_the_checkpoint_of_another_model_is_refused(make_swarm: Any) -> None:
    model, optimizer = net()
    state = checkpoint.capture(model, optimizer, make_swarm(model, start=False))
    other = nn.Linear(3, 3)
    with pytest.raises(ConfigError, match=r"^runs/7: is of another model or optimizer: .*move runs/7 away"):
        checkpoint.restore(state, other, torch.optim.SGD(other.parameters()), Path("runs/7"))
