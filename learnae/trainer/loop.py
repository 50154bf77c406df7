"""The ready-made training loop of `learnae run`. Whoever wants another one writes it: all it needs of Learnae is `swarm.step`."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
from torch import Tensor

from learnae.logs import make_logger
from learnae.trainer import checkpoint
from learnae.trainer.recipe import Trainer, endless, loss_of, metrics_of, samples_of
from learnae.trainer.saving import Saver
from learnae.trainer.swarm import Swarm
from learnae.trainer.theirs import theirs


@attrs.frozen
class Moment:
    """What `on_progress` is told: now and then, and at the end."""

    step: int
    seconds: float
    loss: float | None  # of the last step; None if none was made
    metrics: Mapping[str, float]


class Unfinished(KeyboardInterrupt):
    """It came in the middle of a step, or of the last checkpoint: the one before is the last."""


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

    Leaves a checkpoint in `folder`, but none after an error in the middle of a step: the state is half done then, and the one before
    stays. Raises EntryError for what the trainer's functions raise, and ConfigError for what they return, for what a checkpoint cannot
    hold, and where the last one cannot be written.
    """
    began = time.monotonic()
    end, first, loss = began + (math.inf if seconds is None else seconds), swarm.status.steps, None
    saver = Saver(folder, save_seconds, functools.partial(_capture, trainer, swarm), log or make_logger())
    step, whole = first, True
    trainer.model.train()
    try:
        for batch in endless(trainer.batches):
            if (steps is not None and step >= steps) or time.monotonic() >= end:
                break
            samples, whole = samples_of(trainer, batch), False
            loss = _learn(trainer, batch)
            step += 1
            swarm.step(samples=samples, loss=loss)
            whole = True
            if step == first + 1:
                saver.check()
            if on_progress is not None and step % trainer.evaluate_steps == 0:
                on_progress(_moment(trainer, step, began, loss))
            saver.look()
    except BaseException as error:
        _end(saver, error, whole=whole)
        raise
    saver.finish()
    return _moment(trainer, step, began, loss)


def _end(saver: Saver, error: BaseException, *, whole: bool) -> None:
    """After an error, or an interrupt. Raises what is raised in place of it."""
    if not whole:
        saver.keep()
        if isinstance(error, KeyboardInterrupt):
            raise Unfinished from error
    elif isinstance(error, KeyboardInterrupt):
        try:
            saver.finish()
        except KeyboardInterrupt as again:
            raise Unfinished from again
    else:
        saver.rescue()


def _learn(trainer: Trainer, batch: Any) -> Tensor:
    """One step of the optimizer."""
    loss = loss_of(trainer, batch)
    with theirs("optimizer", "taking a step"):
        trainer.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        trainer.optimizer.step()
        if trainer.scheduler is not None:
            trainer.scheduler.step()
    return loss.detach()


def _moment(trainer: Trainer, step: int, began: float, loss: Tensor | None) -> Moment:
    metrics = metrics_of(trainer)
    return Moment(step, time.monotonic() - began, None if loss is None else float(loss), metrics)


def _capture(trainer: Trainer, swarm: Swarm) -> checkpoint.State:
    return checkpoint.capture(trainer.model, trainer.optimizer, swarm, scheduler=trainer.scheduler)
