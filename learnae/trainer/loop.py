"""The training loop of `learnae run`: a user's learnae.TrainingLoop, from its batches to its last checkpoint."""

from __future__ import annotations

import functools
import math
import numbers
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn

from learnae.errors import ConfigError, Problem
from learnae.logs import make_logger
from learnae.observations import METRIC_CHARACTERS, MOST_METRICS
from learnae.plugins.calls import theirs
from learnae.trainer import checkpoint
from learnae.trainer.arguments import shown, whole
from learnae.trainer.checkpoint import Saver
from learnae.trainer.swarm import Swarm


def count(batch: Any) -> int:
    """The length of the batch, or of its first part. Raises ConfigError where it has none."""
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else (batch,)
    try:
        return len(next(iter(parts)))
    except (TypeError, StopIteration):
        remedy = "say how many it holds: samples=lambda batch: ..., or samples=lambda batch: 1"
        raise ConfigError(Problem("TrainingLoop.samples", f"a batch of type {type(batch).__name__} has no length", remedy)) from None


@attrs.define
class LoaderState:
    """The loader of a training loop, once there is a swarm to make it, and where it stood in an earlier run."""

    loader: Any = None
    saved: Mapping[str, Any] = attrs.field(factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """Where it stands; empty for one that does not tell."""
        return dict(self.loader.state_dict()) if hasattr(self.loader, "state_dict") else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.saved = state

    def make(self, function: Callable[[Swarm], Any], swarm: Swarm) -> Any:
        """Raises EntryError for what the user's function raises, ConfigError for a state that does not fit the rows."""
        with theirs("loader()", "making the loader"):
            self.loader = function(swarm)
        if self.saved and hasattr(self.loader, "load_state_dict"):
            self.loader.load_state_dict(self.saved)
        return self.loader


@attrs.define(kw_only=True)
class TrainingLoop:
    """What the function of `[train] entry` returns: a model, and how it learns.

        def make_trainer():
            model, data = nn.Linear(64, 10), DataLoader(my_images, batch_size=16, shuffle=True)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            loss = lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1])
            return learnae.TrainingLoop(model=model, optimizer=optimizer, batches=lambda: data, loss=loss)

    `batches()` returns the batches of one pass over the data. It is called again for each pass, without end. A batch may be anything.
    `loader(swarm)` stands in its place where rows of others are wanted: it is called once, and returns such as
    `swarm.dataset(my_rows).loader(16)`, of which each pass takes the batches. The checkpoint has its state, if it has one.
    `loss(model, batch)` returns a tensor of one element. The loop calls its `backward()`. `evaluate(model)` returns numbers by name, such
    as `{"accuracy": 0.9}`. They are shown. It is called after every `evaluate_steps` steps, in eval mode and without gradients. It gets the
    model as it was merged last (`Swarm.merged`), or with `evaluate_merged=False` as it was trained since.
    `samples(batch)` returns the number of samples in a batch. By default that is the length of the batch, or of its first part.
    `scheduler.step()` is called after each step of the optimizer. The checkpoint has its state.
    A peer with `[peer] role = "observer"` needs no more than `model` and `evaluate`.
    Raises ConfigError with all fields of a wrong type.
    """

    model: nn.Module
    optimizer: Any = None
    batches: Callable[[], Iterable[Any]] | None = None
    loss: Callable[[nn.Module, Any], Tensor] | None = None
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None
    evaluate_steps: int = 200
    evaluate_merged: bool = True
    samples: Callable[[Any], int] = count
    scheduler: Any = None
    loader: Callable[[Swarm], Any] | None = None
    _loading: LoaderState = attrs.field(factory=LoaderState, alias="_loading", repr=False)

    def __attrs_post_init__(self) -> None:
        if problems := list(_problems(self)):
            raise ConfigError(problems)

    @property
    def trains(self) -> bool:
        """Whether it says how the model learns; one that does not can only be evaluated."""
        return any(part is not None for part in (self.optimizer, self.loss, self.batches, self.loader))


def _problems(trainer: TrainingLoop) -> Iterator[Problem]:
    def wrong(field: str, remedy: str) -> Problem:
        value = getattr(trainer, field)
        what = f"the class {value.__name__}" if isinstance(value, type) else f"{value!r:.60}, of type {type(value).__name__}"
        return Problem(f"TrainingLoop.{field}", f"cannot be {what}", remedy)

    if not isinstance(trainer.model, nn.Module):
        yield wrong("model", "give a torch.nn.Module, such as model=Net()")
    if trainer.trains or trainer.evaluate is None:
        yield from _problems_of_training(trainer, wrong)
    if trainer.evaluate is not None and not callable(trainer.evaluate):
        yield wrong("evaluate", 'give a function that returns numbers by name: evaluate=lambda model: {"accuracy": ...}')
    if isinstance(trainer.evaluate_steps, bool) or not isinstance(trainer.evaluate_steps, numbers.Integral) or trainer.evaluate_steps < 1:
        yield wrong("evaluate_steps", "give a whole number above 0")
    if not isinstance(trainer.evaluate_merged, bool):
        yield wrong("evaluate_merged", "give True for the model as it was merged last, False for what it was trained to since")
    if not callable(trainer.samples):
        yield wrong("samples", "give a function of a batch: samples=lambda batch: ...")
    if trainer.scheduler is not None and not _has(trainer.scheduler, "step", "state_dict", "load_state_dict"):
        yield wrong("scheduler", "give one that is made: scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 1000)")


def _problems_of_training(trainer: TrainingLoop, wrong: Callable[[str, str], Problem]) -> Iterator[Problem]:
    if not _has(trainer.optimizer, "step", "zero_grad", "state_dict", "load_state_dict"):
        yield wrong("optimizer", "give one that is made: optimizer=torch.optim.SGD(model.parameters(), lr=0.1)")
    yield from _problems_of_batches(trainer, wrong)
    if not callable(trainer.loss):
        yield wrong("loss", "give a function: loss=lambda model, batch: ...")


def _problems_of_batches(trainer: TrainingLoop, wrong: Callable[[str, str], Problem]) -> Iterator[Problem]:
    if trainer.loader is None or trainer.batches is not None:
        if not callable(trainer.batches):
            yield wrong("batches", "give a function that returns the batches of one pass: batches=lambda: loader")
    elif not callable(trainer.loader):
        yield wrong("loader", "give a function of the swarm: loader=lambda swarm: swarm.dataset(my_rows).loader(16)")
    if trainer.loader is not None and trainer.batches is not None:
        yield wrong("loader", "there is batches as well: leave one of the two out")


def _has(value: Any, *methods: str) -> bool:
    return not isinstance(value, type) and all(callable(getattr(value, method, None)) for method in methods)


def trainable(trainer: TrainingLoop) -> TrainingLoop:
    """The same. Raises ConfigError for one that can only be evaluated."""
    if not trainer.trains:
        remedy = 'give optimizer, batches and loss; or write [peer] role = "observer" into the file of a peer that only evaluates'
        raise ConfigError(Problem("TrainingLoop.optimizer", "is missing, and this peer is a trainer", remedy))
    return trainer


def with_loader(trainer: TrainingLoop, swarm: Swarm) -> TrainingLoop:
    """The same with the batches of its loader, made now; itself where it has none. Raises as `LoaderState.make`."""
    if trainer.loader is None:
        return trainer
    loader = trainer._loading.make(trainer.loader, swarm)
    return attrs.evolve(trainer, batches=lambda: loader, loader=None)


def endless(batches: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """Pass after pass. Raises ConfigError for one without a batch: else it would go on for ever, and do nothing."""
    while True:
        empty = True
        with theirs("batches()", "starting a pass over the data"):
            found = batches()
        if not isinstance(found, Iterable) and not hasattr(found, "__getitem__"):
            remedy = "return a DataLoader, a list or a generator; is a `return` missing?"
            raise ConfigError(Problem("TrainingLoop.batches", f"returned {type(found).__name__} and no batches", remedy))
        with theirs("batches()", "giving the batches"):
            source = iter(found)
        while True:
            with theirs("batches()", "giving the next batch"):
                batch = next(source, _END)
            if batch is _END:
                break
            empty = False
            yield batch
        if empty:
            remedy = "it is called for each pass over the data; a generator or iterator serves for one, so make it anew in each call"
            raise ConfigError(Problem("train.entry", "the trainer's batches() gave no batch", remedy))


_END = object()


def loss_of(trainer: TrainingLoop, batch: Any) -> Tensor:
    """Of one batch. Raises ConfigError for what is no tensor of one element that depends on the model."""
    assert trainer.loss is not None
    with theirs("loss()", "computing the loss of a batch"):
        loss: Any = trainer.loss(trainer.model, batch)
    if not isinstance(loss, Tensor):
        what = f"returned {type(loss).__name__}"
    elif loss.numel() != 1:
        what = f"returned a tensor of shape {tuple(loss.shape)}"
    elif not loss.requires_grad:
        what = "returned a tensor that does not depend on any parameter that is trained"
    else:
        return loss
    raise ConfigError(Problem("TrainingLoop.loss", what, "return a tensor of one element, from which backward() can be called"))


def samples_of(trainer: TrainingLoop, batch: Any) -> int:
    """In one batch. Raises ConfigError for what is no whole number."""
    with theirs("samples()", "counting the samples of a batch"):
        found = trainer.samples(batch)
    try:
        return whole(found, "samples")
    except (TypeError, ValueError) as error:
        raise ConfigError(Problem("TrainingLoop.samples", f"is wrong: {error}", "return how many samples the batch holds")) from None


@torch.no_grad()
def metrics_of(trainer: TrainingLoop) -> dict[str, float]:
    """What `evaluate` measures, as plain numbers; nothing without it. Raises ConfigError that names what is no number."""
    if trainer.evaluate is None:
        return {}
    trainer.model.eval()
    try:
        with theirs("evaluate()", "evaluating the model"):
            found: Any = trainer.evaluate(trainer.model)
    finally:
        trainer.model.train()
    remedy = 'return numbers, or tensors of one element, by name: {"accuracy": 0.9}'
    if not isinstance(found, Mapping):
        raise ConfigError(Problem("TrainingLoop.evaluate", f"returned {shown(found)}", remedy))
    metrics = {name: _number(value) for name, value in found.items()}
    if wrong := [name for name, number in metrics.items() if number is None or not isinstance(name, str)]:
        raise ConfigError([Problem("TrainingLoop.evaluate", f"{name!r} is {shown(found[name])}", remedy) for name in wrong])
    return cast("dict[str, float]", metrics)


def _number(value: Any) -> float | None:
    """Of Python, numpy or torch, also as an array of one element."""
    if isinstance(value, str | bytes | complex):
        return None
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError, RuntimeError):
        return None


@attrs.frozen(kw_only=True)
class TrainingProgress:
    """How far training has come. `on_progress` gets it now and then, and at the end."""

    step: int
    seconds: float
    loss: float | None  # of the last step; None if none was made
    metrics: Mapping[str, float]
    merged: bool = False  # whether `metrics` are of the model as it was merged last, and not as it was trained since


class UnfinishedInterrupt(KeyboardInterrupt):
    """An interrupt in the middle of a step, or of the last checkpoint. The checkpoint before is the last one."""


def resume(trainer: TrainingLoop, folder: Path, log: Any) -> Mapping[str, Any] | None:
    """Load the newest checkpoint in `folder`. Returns its state of the swarm, for `join(resume=...)`, or None if there is no checkpoint.

    Raises ConfigError for checkpoints that are broken, or of another model.
    """
    state = checkpoint.newest(folder, log)
    if state is None:
        return None
    checkpoint.restore(state, trainer.model, trainer.optimizer, folder, scheduler=trainer.scheduler, loader=trainer._loading)
    of_swarm: Mapping[str, Any] = state["swarm"]
    return of_swarm


def train(
    trainer: TrainingLoop,
    swarm: Swarm,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    folder: Path | None = None,
    save_seconds: float = 30.0,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    log: Any = None,
) -> TrainingProgress:
    """Train until the model has made so many steps (those of earlier runs count), or for so many seconds, or until interrupted.

    Leaves a checkpoint in `folder`. After an error in the middle of a step the state is half done: then the earlier checkpoint stays.
    Raises EntryError if a function of the loop raises. Raises ConfigError if such a function returns something wrong, if a checkpoint
    cannot hold a value, or if the last checkpoint cannot be written.
    """
    trainer = with_loader(trainable(trainer), swarm)
    assert trainer.batches is not None
    began = time.monotonic()
    end, first, loss = began + (math.inf if seconds is None else seconds), swarm.status.steps, None
    saver = Saver(folder, save_seconds, functools.partial(_capture, trainer, swarm), log or make_logger())
    step, whole = first, True
    trainer.model.train()
    try:
        batches = endless(trainer.batches)
        while (steps is None or step < steps) and time.monotonic() < end:
            batch = next(batches)  # not before it is wanted: a loader would count it as one that was trained on
            samples, whole = samples_of(trainer, batch), False
            loss = _learn(trainer, batch)
            step += 1
            swarm.step(num_samples=samples, loss=loss)
            whole = True
            if step == first + 1:
                saver.check()
            if on_progress is not None and step % trainer.evaluate_steps == 0:
                on_progress(_moment(trainer, swarm, step, began, loss))
            saver.look()
    except BaseException as error:
        _end(saver, error, whole=whole)
        raise
    saver.finish()
    return _moment(trainer, swarm, step, began, loss)


def _end(saver: Saver, error: BaseException, *, whole: bool) -> None:
    """After an error, or an interrupt. Raises what is raised in place of it."""
    if not whole:
        saver.keep()
        if isinstance(error, KeyboardInterrupt):
            raise UnfinishedInterrupt from error
    elif isinstance(error, KeyboardInterrupt):
        try:
            saver.finish()
        except KeyboardInterrupt as again:
            raise UnfinishedInterrupt from again
    else:
        saver.rescue()


def _learn(trainer: TrainingLoop, batch: Any) -> Tensor:
    """One step of the optimizer."""
    loss = loss_of(trainer, batch)
    with theirs("optimizer", "taking a step"):
        trainer.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        trainer.optimizer.step()
        if trainer.scheduler is not None:
            trainer.scheduler.step()
    return loss.detach()


def _moment(trainer: TrainingLoop, swarm: Swarm, step: int, began: float, loss: Tensor | None) -> TrainingProgress:
    metrics, merged = _measured(trainer, swarm)
    if metrics:
        swarm.log_metrics(told(metrics))
    seconds, last = time.monotonic() - began, None if loss is None else float(loss)
    return TrainingProgress(step=step, seconds=seconds, loss=last, metrics=metrics, merged=merged)


def _measured(trainer: TrainingLoop, swarm: Swarm) -> tuple[dict[str, float], bool]:
    """And whether of the merged model."""
    if trainer.evaluate is None or not trainer.evaluate_merged:
        return metrics_of(trainer), False
    with swarm.merged() as merged:
        return metrics_of(trainer), merged


def told(metrics: Mapping[str, float]) -> dict[str, float]:
    """As many as a node is told, the loss before others."""
    names = sorted((name for name in metrics if 0 < len(name) <= METRIC_CHARACTERS), key=lambda name: name != "loss")
    return {name: metrics[name] for name in names[:MOST_METRICS]}


def _capture(trainer: TrainingLoop, swarm: Swarm) -> checkpoint.State:
    loader = None if trainer._loading.loader is None else trainer._loading
    return checkpoint.capture(trainer.model, trainer.optimizer, swarm, scheduler=trainer.scheduler, loader=loader)
