"""A peer that does not train: it adopts what others publish, and measures each model on test data of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from learnae.errors import ConfigError, Problem
from learnae.trainer.arguments import seconds_of
from learnae.trainer.loop import TrainingLoop, TrainingProgress, metrics_of, told
from learnae.trainer.swarm import Swarm

LOOK_SECONDS = 0.5
"""So often a wait looks whether it shall end."""
REFUSED = (
    "this peer is an observer ([peer] role), which does not train: call next_model(timeout), which adopts the next model of the swarm, "
    "then evaluate it and tell the result by log_metrics()"
)


class ObserverSwarm(Swarm):
    """The swarm of an observer. Its `step` and `flush` are refused, and its `next_model` waits for that of the others."""

    def step(self, num_samples: int = 0, loss: Any = None, *, samples: int | None = None) -> None:
        """Raises RuntimeError: an observer does not train."""
        raise RuntimeError(REFUSED)

    def flush(self, timeout: float = 0.0, *, seconds: float | None = None) -> None:
        """Raises RuntimeError: an observer has no snapshot to hand over."""
        raise RuntimeError(REFUSED)

    def next_model(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the next model that is merged from those of others, and adopt it.

        `status.adoptions` has grown if one came. The node looks for news every `[train] round_seconds`. Raises as `Swarm.step`.
        """
        timeout = seconds_of(timeout, "timeout")
        self._check()
        self._session.observe(timeout)


def observe(
    trainer: TrainingLoop,
    swarm: Swarm,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    look: Callable[[], None] = lambda: None,
) -> TrainingProgress:
    """Evaluate each model of the swarm, until one has so many steps in its history, or for so many seconds, or until interrupted.

    Between two models `look` is called every half second; it may raise. The node goes on while the model is evaluated: what is merged
    meanwhile is adopted next. Raises ConfigError for a loop without `evaluate`, and as `train` for what that function does.
    """
    if trainer.evaluate is None:
        remedy = 'give a function that returns numbers by name: evaluate=lambda model: {"loss": ..., "accuracy": ...}'
        raise ConfigError(Problem("TrainingLoop.evaluate", "is missing, and an observer does nothing else", remedy))
    began = time.monotonic()
    end = began + (math.inf if seconds is None else seconds)
    adoptions = swarm.status.adoptions
    last = TrainingProgress(step=0, seconds=0.0, loss=None, metrics={})
    while (left := end - time.monotonic()) > 0 and (steps is None or last.step < steps):
        look()
        swarm.next_model(timeout=min(LOOK_SECONDS, left))
        status = swarm.status
        if status.adoptions == adoptions:
            continue
        adoptions = status.adoptions
        metrics = metrics_of(trainer)
        swarm.log_metrics(told(metrics))
        last = TrainingProgress(step=status.age, seconds=time.monotonic() - began, loss=None, metrics=metrics)
        if on_progress is not None:
            on_progress(last)
    return last
