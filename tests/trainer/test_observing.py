"""What an observer may be asked for, without a swarm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learnae.errors import ConfigError
from learnae.trainer.loop import TrainingLoop, train
from learnae.trainer.observing import ObserverSwarm, observe
from learnae.trainer.shared import find_shared
from learnae.trainer.status import SwarmSettings
from learnae.trainer.swarm import Swarm


@pytest.fixture
def swarm(tmp_path: Any) -> Any:
    model = nn.Linear(2, 1)
    made = ObserverSwarm(model, find_shared(model), SwarmSettings(role="observer", home=str(tmp_path)))
    yield made
    made.leave()


def only_evaluated(**fields: Any) -> TrainingLoop:
    return TrainingLoop(model=nn.Linear(2, 1), evaluate=lambda model: {"loss": 1.0}, **fields)


def test_a_step_is_refused_with_what_to_do_instead(swarm: Any) -> None:
    with pytest.raises(RuntimeError, match="does not train: call next_model"):
        swarm.step(num_samples=1)
    with pytest.raises(RuntimeError, match="does not train"):
        swarm.step()
    with pytest.raises(RuntimeError, match="call next_model"):
        swarm.flush(timeout=1)


def test_a_peer_that_trains_is_told_that_it_waits_for_no_model(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    trainer = Swarm(model, find_shared(model), SwarmSettings(home=str(tmp_path)))
    with pytest.raises(RuntimeError, match="this peer trains"):
        trainer.next_model(timeout=1)
    trainer.leave()


def test_a_wait_for_a_model_ends_with_its_time_where_no_node_is(swarm: Any) -> None:
    swarm.next_model(timeout=0.05)
    assert swarm.status.adoptions == 0
    with pytest.raises(ValueError, match="timeout"):
        swarm.next_model(timeout=-1)


def test_a_loop_that_only_evaluates_is_whole_for_an_observer_and_refused_where_one_trains(swarm: Any) -> None:
    assert observe(only_evaluated(), swarm, seconds=0.05).metrics == {}
    with pytest.raises(ConfigError, match='role = "observer"'):
        train(only_evaluated(), swarm, steps=1)


def test_an_observer_without_evaluate_is_told_so(swarm: Any) -> None:
    model = nn.Linear(2, 1)
    loop = TrainingLoop(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        batches=lambda: [torch.ones(2)],
        loss=lambda model, batch: model(batch).sum(),
    )
    with pytest.raises(ConfigError, match=r"TrainingLoop\.evaluate: is missing"):
        observe(loop, swarm, seconds=0.05)


@pytest.mark.parametrize("field", ["optimizer", "loss", "batches"])
def test_a_loop_that_says_half_of_how_to_train_is_refused_whoever_runs_it(field: str) -> None:
    model = nn.Linear(2, 1)
    parts = {
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "batches": lambda: [torch.ones(2)],
        "loss": lambda model, batch: model(batch).sum(),
    }
    del parts[field]
    with pytest.raises(ConfigError, match=rf"TrainingLoop\.{field}"):
        TrainingLoop(model=model, evaluate=lambda model: {"loss": 1.0}, **parts)


def test_a_look_between_two_models_may_end_it(swarm: Any) -> None:
    def look() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        observe(only_evaluated(), swarm, look=look)
