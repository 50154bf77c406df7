from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import structlog
import torch
from torch import nn

from learnae.errors import ConfigError
from learnae.trainer.loop import Moment, Trainer, resume, train

LOG = structlog.get_logger()
X = torch.tensor([[1.0], [2.0], [3.0], [4.0]])


def make_trainer(**fields: Any) -> Trainer:
    """Learns y = 2x."""
    torch.manual_seed(0)
    model = nn.Linear(1, 1, bias=False)
    return Trainer(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
        batches=lambda: [(X[:2], 2 * X[:2]), (X[2:], 2 * X[2:])],
        loss=lambda model, batch: (model(batch[0]) - batch[1]).square().mean(),
        **fields,
    )


def test_it_learns_counts_and_ends_after_so_many_steps(make_swarm: Any) -> None:
    trainer = make_trainer(evaluate=lambda model: {"slope": model.weight.item()})
    swarm = make_swarm(trainer.model, start=False)
    end = train(trainer, swarm, steps=50)
    assert (end.step, swarm.status.steps, swarm.status.samples) == (50, 50, 100)
    assert end.metrics["slope"] == pytest.approx(2.0, abs=1e-3) and end.loss is not None and end.loss < 1e-4


@pytest.mark.parametrize("batch", [X, (X, 2 * X), {"x": X, "y": 2 * X}], ids=["tensor", "pair", "mapping"])
def test_a_batch_counts_as_many_samples_as_its_first_part_is_long(batch: Any) -> None:
    assert make_trainer().samples(batch) == 4


def test_it_ends_after_so_many_seconds(make_swarm: Any) -> None:
    trainer = make_trainer()
    assert train(trainer, make_swarm(trainer.model, start=False), seconds=0.0).step == 0


def test_it_tells_its_progress_without_gradients_and_trains_on(make_swarm: Any) -> None:
    modes = []

    def evaluate(model: nn.Module) -> dict[str, float]:
        modes.append((model.training, torch.is_grad_enabled()))
        return {"a": 1.0}

    trainer, moments = make_trainer(evaluate=evaluate, evaluate_steps=2), list[Moment]()
    train(trainer, make_swarm(trainer.model, start=False), steps=5, on_progress=moments.append)
    assert [moment.step for moment in moments] == [2, 4] and moments[0].metrics == {"a": 1.0}
    assert modes == [(False, False)] * 3 and trainer.model.training


def test_it_goes_on_from_its_checkpoint(make_swarm: Any, tmp_path: Path) -> None:
    first = make_trainer()
    train(first, make_swarm(first.model, start=False), steps=7, folder=tmp_path)
    second = make_trainer()
    swarm = make_swarm(second.model, start=False, resume=resume(second, tmp_path, LOG))
    end = train(second, swarm, steps=7, folder=tmp_path)
    assert end.step == 7 and swarm.status.steps == 7
    assert torch.equal(first.model.weight, second.model.weight)


def test_an_interrupt_leaves_a_checkpoint(make_swarm: Any, tmp_path: Path) -> None:
    def interrupted(_: Moment) -> None:
        raise KeyboardInterrupt

    trainer = make_trainer(evaluate_steps=3)
    with pytest.raises(KeyboardInterrupt):
        train(trainer, make_swarm(trainer.model, start=False), folder=tmp_path, on_progress=interrupted)
    other = make_trainer()
    assert make_swarm(other.model, start=False, resume=resume(other, tmp_path, LOG)).status.steps == 3


def test_without_a_checkpoint_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert resume(make_trainer(), tmp_path, LOG) is None


def test_a_scheduler_takes_its_steps(make_swarm: Any) -> None:
    trainer = make_trainer()
    trainer.scheduler = torch.optim.lr_scheduler.StepLR(trainer.optimizer, 2, gamma=0.1)
    train(trainer, make_swarm(trainer.model, start=False), steps=4)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.0005)


def test_data_without_a_batch_is_an_error(make_swarm: Any) -> None:
    trainer = make_trainer()
    trainer.batches = list
    with pytest.raises(ConfigError, match="no batch"):
        train(trainer, make_swarm(trainer.model, start=False), steps=1)
