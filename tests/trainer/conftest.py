from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import learnae
from learnae.trainer.shared import find_shared
from learnae.trainer.status import SwarmSettings
from learnae.trainer.swarm import Swarm
from learnae.waiting import Backoff

NODE = Path(__file__).with_name("scripted_node.py")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Learnae is not installed, the node finds it beside the tests."""
    monkeypatch.setenv("PYTHONPATH", str(Path(learnae.__file__).parents[1]))


@pytest.fixture
def make_swarm(tmp_path: Path) -> Iterator[Callable[..., Swarm]]:
    """Swarms whose nodes follow `tests/trainer/scripted_node.py`; `faults` says which of its starts goes wrong, and how."""
    made: list[Swarm] = []

    def make(model: nn.Module, *, faults: dict[int, str] | None = None, start: bool = True, resume: Any = None, **config: Any) -> Swarm:
        swarm_settings = SwarmSettings(
            local_steps=config.pop("local_steps", 1),
            patience=config.pop("patience", 0.0),
            config={"faults": {str(number): fault for number, fault in (faults or {}).items()}, **config},
            home=str(tmp_path),
            command=(sys.executable, str(NODE)),
            backoff=Backoff(first=0.01, limit=0.05),
        )
        swarm = Swarm(model, find_shared(model), swarm_settings)
        made.append(swarm)
        if resume is not None:
            swarm.load_state_dict(resume)
        if start:
            swarm.start()
        if start and not faults:
            Watch().want(swarm)
        return swarm

    yield make
    for swarm in made:
        swarm.leave()


class Watch:
    """Waits for what the listening thread brings about."""

    def until(self, swarm: Swarm, condition: Callable[[], bool]) -> None:
        with swarm._session.changed:
            assert swarm._session.changed.wait_for(condition, 30), "it never came"

    def offer(self, swarm: Swarm) -> None:
        self.until(swarm, lambda: swarm._session._session_state.offer is not None)

    def want(self, swarm: Swarm) -> None:
        self.until(swarm, lambda: swarm._session._session_state.wanted)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def zeros() -> nn.Module:
    model = nn.Linear(2, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of checkpoints: it lies in a home, and nothing else does."""
    place = tmp_path / "checkpoint"
    place.mkdir(0o700)
    return place
