"""The ready-made training loop of `learnae run`. Whoever wants another one writes it: all it needs of Learnae is `swarm.step`."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from learnae.errors import ConfigError, Problem
from learnae.logs import make_logger
from learnae.trainer import checkpoint
from learnae.trainer.saving import Saver
from learnae.trainer.swarm import Swarm


def _count(batch: Any) -> int:
    """The length of the batch, or of its first part."""
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else (batch,)
    return len(next(iter(parts)))


@attrs.define(kw_only=True)
class Trainer:
    """What `make_trainer` returns: a model and how it learns.

        def make_trainer():
            model, data = nn.Linear(64, 10), DataLoader(my_images, batch_size=16, shuffle=True)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            loss = lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1])
            return learnae.Trainer(model=model, optimizer=optimizer, batches=lambda: data, loss=loss)

    `batches()` gives the batches of one pass over the data; it is called anew for each pass, without end, and a batch may be anything.
    `loss(model, batch)` is a tensor of one element, from which `backward()` is called. `evaluate(model)` gives numbers by name to be
    shown, such as `{"accuracy": 0.9}`; it is called after every `evaluate_steps` steps, in eval mode and without gradients.
    `samples(batch)` is the number of samples in a batch: the length of it, or of its first part, unless you say otherwise.
    `scheduler.step()` is called after each step of the optimizer, and its state lies in the checkpoint.
    """

    model: nn.Module
    optimizer: Any
    batches: Callable[[], Iterable[Any]]
    loss: Callable[[nn.Module, Any], Tensor]
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None
    evaluate_steps: int = attrs.field(default=200, validator=attrs.validators.gt(0))
    samples: Callable[[Any], int] = _count
    scheduler: Any = None


@attrs.frozen
class Moment:
    """What `on_progress` is told: now and then, and at the end."""

    step: int
    seconds: float
    loss: float | None  # of the last step; None if none was made
    metrics: Mapping[str, float]


def resume(trainer: Trainer, folder: Path, log: Any) -> Mapping[str, Any] | None:
    """Load the newest checkpoint in `folder`; returns what it says of the swarm, for `join(resume=...)`. None without one.

    Raises ConfigError for checkpoints that are broken, or of another model.
    """
    state = checkpoint.newest(folder, log)
    if state is None:
        return None
    checkpoint.restore(state, trainer.model, trainer.optimizer, folder, scheduler=trainer.scheduler)
    of_swarm: Mapping[str, Any] = state["swarm"]
    return of_swarm


def train(
    trainer: Trainer,
    swarm: Swarm,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    folder: Path | None = None,
    save_seconds: float = 30.0,
    on_progress: Callable[[Moment], None] | None = None,
    log: Any = None,
) -> Moment:
    """Train until the model has made so many steps, those of earlier runs included, or for so many seconds, or until interrupted.

    Leaves a checkpoint in `folder`. Raises what the trainer's functions raise, and ConfigError, also where the last checkpoint cannot be
    written.
    """
    began = time.monotonic()
    end, step, loss = began + (math.inf if seconds is None else seconds), swarm.status.steps, None
    saver = Saver(folder, save_seconds, functools.partial(_capture, trainer, swarm), log or make_logger())
    trainer.model.train()
    try:
        for batch in _endless(trainer.batches):
            if (steps is not None and step >= steps) or time.monotonic() >= end:
                break
            loss = trainer.loss(trainer.model, batch)
            trainer.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            trainer.optimizer.step()
            if trainer.scheduler is not None:
                trainer.scheduler.step()
            step += 1
            swarm.step(samples=trainer.samples(batch), loss=loss.detach())
            if on_progress is not None and step % trainer.evaluate_steps == 0:
                on_progress(_moment(trainer, step, began, loss))
            saver.look()
    finally:
        saver.finish()
    return _moment(trainer, step, began, loss)


def _endless(batches: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    while True:
        empty = True
        for batch in batches():
            empty = False
            yield batch
        if empty:
            raise ConfigError(Problem("train.entry", "the trainer's batches() gave no batch", "it is called for each pass over the data"))


@torch.no_grad()
def _moment(trainer: Trainer, step: int, began: float, loss: Tensor | None) -> Moment:
    trainer.model.eval()
    metrics = dict(trainer.evaluate(trainer.model)) if trainer.evaluate is not None else {}
    trainer.model.train()
    return Moment(step, time.monotonic() - began, None if loss is None else float(loss), metrics)


def _capture(trainer: Trainer, swarm: Swarm) -> checkpoint.State:
    return checkpoint.capture(trainer.model, trainer.optimizer, swarm, scheduler=trainer.scheduler)
