"""Learnae's own tensors are on the CPU and of stated types, whatever the user has set for his."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import torch
from torch import nn

from learnae.link.messages import Adopted, MergeResult, Start, Want
from learnae.trainer import checkpoint
from learnae.trainer.session import Session
from learnae.trainer.shared import find_shared
from learnae.trainer.status import SwarmSettings


@contextlib.contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES: dict[str, Callable[[], Any]] = {
    "default device": default_device,
    "inside a device": lambda: torch.device("meta"),
    "default dtype": default_dtype,
    "inference mode": torch.inference_mode,
    "no grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


def make_model(dtype: torch.dtype) -> nn.Module:
    """Zeros, with a buffer that counts and one that does not."""
    model = nn.Sequential(nn.Linear(2, 2, dtype=dtype), nn.BatchNorm1d(2, dtype=dtype))
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.zero_()
    return model


def life(model: nn.Module, *, moved: bool) -> dict[str, Any]:
    """Join, a snapshot, an adoption, a checkpoint: what a trainer does beside training. Its state at the end."""
    session = Session(find_shared(model), SwarmSettings(local_steps=1, patience=0.0))
    sent: list[Any] = []
    start: Start = session.begin(sent.append)
    session.hear(Want())
    session.model_progress.steps += 1
    session.attend()
    for array in session.shared_memory.pages[0].values():
        array.fill_(2)
    session.hear(MergeResult(start.hello.session, 1, 0, 0, b"lineage8", 0, "merged"))
    session.model_progress.steps += moved
    session.attend()
    assert sent[-1] == Adopted(1)
    state = session.state_dict()
    assert session.load_state_dict(state)
    session.shared_memory.close()
    return state


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("mode", MODES)
def test_a_merged_model_is_adopted_whatever_the_defaults_are(mode: str, dtype: torch.dtype, moved: bool) -> None:
    model = make_model(dtype)
    with MODES[mode]():
        state = life(model, moved=moved)
    assert all(tensor.device.type == "cpu" for tensor in state["residues"].values())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, torch.full_like(tensor, 2)), name


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "inference mode"])
def test_a_checkpoint_is_written_and_read_whatever_the_defaults_are(mode: str, folder: Path) -> None:
    model = make_model(torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    class Stub:
        def state_dict(self) -> dict[str, Any]:
            return {}

        def merged_tensors(self, state: object) -> None:
            return None

    with MODES[mode]():
        checkpoint.save(folder, checkpoint.capture(model, optimizer, Stub()))
        state = checkpoint.newest(folder, structlog.get_logger())
        assert state is not None
        checkpoint.restore(state, model, optimizer)
    assert all(tensor.device.type == "cpu" for tensor in state["model"].values())
