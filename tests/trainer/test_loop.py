from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import structlog
import torch
from torch import nn
from torch.utils.data import TensorDataset

from learnae.errors import ConfigError, EntryError
from learnae.observations import MOST_METRICS
from learnae.trainer.loop import TrainingLoop, TrainingProgress, UnfinishedInterrupt, resume, train

LOG = structlog.get_logger()
X = torch.tensor([[1.0], [2.0], [3.0], [4.0]])


def make_trainer(**fields: Any) -> TrainingLoop:
    """Learns y = 2x."""
    torch.manual_seed(0)
    model = nn.Linear(1, 1, bias=False)
    return TrainingLoop(
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

    trainer, moments = make_trainer(evaluate=evaluate, evaluate_steps=2), list[TrainingProgress]()
    train(trainer, make_swarm(trainer.model, start=False), steps=5, on_progress=moments.append)
    assert [moment.step for moment in moments] == [2, 4] and moments[0].metrics == {"a": 1.0}
    assert modes == [(False, False)] * 3 and trainer.model.training


@pytest.mark.parametrize("merged", [True, False])
def test_the_model_as_it_was_merged_last_is_evaluated_unless_the_loop_says_otherwise(make_swarm: Any, watch: Any, merged: bool) -> None:
    trainer = make_trainer(evaluate=lambda model: {"slope": model.weight.item()}, evaluate_merged=merged)
    swarm = make_swarm(trainer.model)
    while not swarm.status.adoptions:
        watch.want(swarm)
        swarm.flush(30)
    with swarm.merged():
        expected = trainer.model.weight.item()
    with torch.no_grad():
        trainer.model.weight.add_(7)
    end = train(trainer, swarm, steps=0)
    assert end.merged is merged
    assert end.metrics["slope"] == pytest.approx(expected if merged else expected + 7)


def test_what_is_measured_reaches_the_next_snapshot_the_loss_before_others(make_swarm: Any) -> None:
    many = {**{f"metric {number}": float(number) for number in range(20)}, "loss": 0.5, "broken": math.nan}
    trainer = make_trainer(evaluate=lambda model: many, evaluate_steps=2)
    swarm = make_swarm(trainer.model, start=False)
    train(trainer, swarm, steps=4, on_progress=lambda moment: None)
    told = swarm._session.model_progress.progress(0).evaluation
    assert told is not None and told.number == 3 and len(told.metrics) == MOST_METRICS
    assert told.metrics["loss"] == 0.5


@pytest.mark.parametrize(
    "metrics",
    [None, [0.5], {"loss": None}, {"loss": "0.5"}, {"loss": True}, {1: 0.5}, {"": 0.5}, {"n" * 65: 0.5}, {str(n): 0.0 for n in range(17)}],
    ids=["nothing", "a list", "no number", "text", "truth", "no name", "an empty name", "a long name", "too many"],
)
def test_what_is_no_metric_is_refused_by_name_and_what_is_not_finite_left_out(make_swarm: Any, metrics: Any) -> None:
    swarm = make_swarm(make_trainer().model, start=False)
    with pytest.raises((TypeError, ValueError), match="metrics"):
        swarm.log_metrics(metrics)
    swarm.log_metrics({"loss": torch.tensor(math.inf), "accuracy": torch.tensor(0.5)})
    assert swarm._session.model_progress.progress(0).evaluation.metrics == {"accuracy": 0.5}


def test_it_goes_on_from_its_checkpoint(make_swarm: Any, folder: Path) -> None:
    first = make_trainer()
    train(first, make_swarm(first.model, start=False), steps=7, folder=folder)
    second = make_trainer()
    swarm = make_swarm(second.model, start=False, resume=resume(second, folder, LOG))
    end = train(second, swarm, steps=7, folder=folder)
    assert end.step == 7 and swarm.status.steps == 7
    assert torch.equal(first.model.weight, second.model.weight)


def test_an_interrupt_leaves_a_checkpoint(make_swarm: Any, folder: Path) -> None:
    def interrupted(_: TrainingProgress) -> None:
        raise KeyboardInterrupt

    trainer = make_trainer(evaluate_steps=3)
    with pytest.raises(KeyboardInterrupt):
        train(trainer, make_swarm(trainer.model, start=False), folder=folder, on_progress=interrupted)
    other = make_trainer()
    assert make_swarm(other.model, start=False, resume=resume(other, folder, LOG)).status.steps == 3


def test_without_a_checkpoint_there_is_nothing_to_go_on_from(folder: Path) -> None:
    assert resume(make_trainer(), folder, LOG) is None


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


def fails_at(step: int, error: BaseException) -> Any:
    """A loss that raises in this step."""
    calls = []

    def loss(model: nn.Module, batch: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == step:
            raise error
        return (model(batch[0]) - batch[1]).square().mean()

    return loss


@pytest.mark.parametrize("error", [ZeroDivisionError("a mistake"), KeyboardInterrupt()])
def test_an_error_in_the_middle_of_a_step_leaves_the_checkpoint_before(make_swarm: Any, folder: Path, error: BaseException) -> None:
    first = make_trainer()
    train(first, make_swarm(first.model, start=False), steps=2, folder=folder)
    second = make_trainer()
    swarm = make_swarm(second.model, start=False, resume=resume(second, folder, LOG))
    second.loss = fails_at(3, error)
    with pytest.raises((EntryError, UnfinishedInterrupt)):
        train(second, swarm, folder=folder, log=LOG)
    third = make_trainer()
    assert resume(third, folder, LOG)["steps"] == 2  # type: ignore[index]
    assert torch.equal(third.model.weight, first.model.weight)


def test_a_mistake_in_a_function_of_the_user_is_told_with_the_line_of_the_file(make_swarm: Any) -> None:
    trainer = make_trainer()
    trainer.loss = fails_at(1, ZeroDivisionError("a mistake"))
    with pytest.raises(EntryError) as caught:
        train(trainer, make_swarm(trainer.model, start=False), steps=1)
    assert "loss()" in str(caught.value) and "ZeroDivisionError: a mistake" in str(caught.value)
    assert (
        f'File "{__file__}"' in caught.value.lines and "raise error" in caught.value.lines and "trainer/loop.py" not in caught.value.lines
    )


def raises(*_: Any) -> Any:
    raise OSError("no data")


def stops() -> Any:
    yield X[:2], X[:2]
    raise OSError("no data")


@pytest.mark.parametrize("field", ["batches", "evaluate", "samples", "loss"])
def test_whatever_function_raises_is_named(make_swarm: Any, field: str) -> None:
    trainer = make_trainer(evaluate_steps=1)
    setattr(trainer, field, raises)
    with pytest.raises(EntryError, match=rf"{field}\(\) .*OSError: no data"):
        train(trainer, make_swarm(trainer.model, start=False), steps=1, on_progress=lambda _: None)


def test_data_that_breaks_off_leaves_a_checkpoint_of_the_last_step(make_swarm: Any, folder: Path) -> None:
    trainer = make_trainer()
    trainer.batches = stops
    with pytest.raises(EntryError, match="no data"):
        train(trainer, make_swarm(trainer.model, start=False), folder=folder)
    assert resume(make_trainer(), folder, LOG)["steps"] == 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("loss", lambda model, batch: 0.5, "returned float"),
        ("loss", lambda model, batch: model(batch[0]), r"shape \(2, 1\)"),
        ("loss", lambda model, batch: torch.ones(()), "does not depend"),
        ("loss", lambda model, batch: None, "returned NoneType"),
        ("samples", lambda batch: 1.5, "is 1.5"),
        ("samples", lambda batch: -1, "is -1"),
        ("samples", lambda batch: None, "is None"),
        ("batches", lambda: None, "returned NoneType"),
        ("batches", lambda: [object()], "has no length"),
        ("batches", lambda: [{}], "dict has no length"),
        ("evaluate", lambda model: None, "returned None"),
        ("evaluate", lambda model: 0.5, "returned 0.5"),
        ("evaluate", lambda model: {"acc": None}, "'acc' is None"),
        ("evaluate", lambda model: {"acc": "0.9"}, "'acc' is '0.9'"),
        ("evaluate", lambda model: {"acc": torch.ones(3)}, r"'acc' is .* shape \(3,\)"),
        ("evaluate", lambda model: {1: 0.5}, "1 is 0.5"),
    ],
)
def test_what_a_function_returns_is_looked_at(make_swarm: Any, field: str, value: Any, said: str) -> None:
    trainer = make_trainer(evaluate_steps=1)
    setattr(trainer, field, value)
    with pytest.raises(ConfigError, match=rf"TrainingLoop.{'samples' if 'length' in said else field}.*{said}"):
        train(trainer, make_swarm(trainer.model, start=False), steps=1, on_progress=lambda _: None)


@pytest.mark.parametrize(
    "value", [0.5, torch.tensor(0.5), torch.tensor([[0.5]]), np.float32(0.5), np.array([0.5]), torch.tensor(0.5).bfloat16()], ids=repr
)
def test_numbers_of_all_sorts_are_measures(make_swarm: Any, value: Any) -> None:
    trainer = make_trainer(evaluate=lambda model: {"a": value})
    metrics = train(trainer, make_swarm(trainer.model, start=False), steps=1).metrics
    assert metrics == {"a": 0.5} and type(metrics["a"]) is float


def test_a_generator_that_is_used_up_is_an_error_and_no_endless_loop(make_swarm: Any) -> None:
    once = iter([(X, X)])
    trainer = make_trainer()
    trainer.batches = lambda: once
    with pytest.raises(ConfigError, match="anew in each call"):
        train(trainer, make_swarm(trainer.model, start=False), steps=5)


def test_all_fields_of_a_trainer_that_are_something_else_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainingLoop(
            model=nn.Linear,  # type: ignore[arg-type]
            optimizer=torch.optim.SGD,
            batches=[1],  # type: ignore[arg-type]
            loss=None,  # type: ignore[arg-type]
            evaluate=1,  # type: ignore[arg-type]
            evaluate_steps=0,
            evaluate_merged=1,  # type: ignore[arg-type]
            samples=8,  # type: ignore[arg-type]
            scheduler=torch.optim.lr_scheduler.StepLR,
            loader=[],  # type: ignore[arg-type]
        )
    assert {problem.key for problem in caught.value.problems} == {
        f"TrainingLoop.{field.name}" for field in attrs.fields(TrainingLoop) if field.alias and not field.alias.startswith("_")
    }


def test_a_state_that_could_not_be_read_again_is_refused_after_the_first_step(make_swarm: Any, folder: Path) -> None:
    class Odd(nn.Linear):
        def get_extra_state(self) -> Any:
            return {"when": object()}

    trainer = make_trainer()
    trainer.model = Odd(1, 1, bias=False)
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.05)
    swarm = make_swarm(trainer.model, start=False)
    with pytest.raises(ConfigError, match=r'model.*_extra_state.*"when".*is a object'):
        train(trainer, swarm, folder=folder, log=LOG)
    assert swarm.status.steps == 1


def test_a_loader_is_made_with_the_swarm_and_goes_on_where_its_last_checkpoint_left_it(make_swarm: Any, folder: Path) -> None:
    rows = TensorDataset(torch.arange(1.0, 13)[:, None], 2 * torch.arange(1.0, 13)[:, None])
    seen: list[float] = []

    def trainer() -> TrainingLoop:
        model = nn.Linear(1, 1)

        def loss(model: nn.Module, batch: Any) -> torch.Tensor:
            seen.extend(batch[0][:, 0].tolist())
            return model(batch[0]).mean()

        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        return TrainingLoop(model=model, optimizer=optimizer, loader=lambda swarm: swarm.dataset(rows).loader(2), loss=loss)

    first = trainer()
    train(first, make_swarm(first.model, start=False), steps=4, folder=folder)
    second = trainer()
    state = resume(second, folder, LOG)
    train(second, make_swarm(second.model, start=False, resume=state), steps=12, folder=folder)
    assert sorted(seen[:12]) == sorted(seen[12:]) == list(range(1, 13)) and seen[:12] != seen[12:]


def test_batches_and_a_loader_are_one_too_many_and_neither_is_too_few() -> None:
    model = nn.Linear(1, 1)
    fields: dict[str, Any] = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1), "loss": lambda model, batch: batch}
    with pytest.raises(ConfigError, match=r"TrainingLoop\.batches"):
        TrainingLoop(**fields)
    with pytest.raises(ConfigError, match="leave one of the two out"):
        TrainingLoop(**fields, batches=list, loader=lambda swarm: [])
    with pytest.raises(ConfigError, match="a function of the swarm"):
        TrainingLoop(**fields, loader=[])
