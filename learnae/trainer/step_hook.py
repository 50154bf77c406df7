"""Counts the steps of an optimizer by its own hook, so that a loop needs no line for the swarm."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from learnae.errors import ConfigError, Problem
from learnae.trainer.arguments import optimizers_in, unwrap

if TYPE_CHECKING:
    from learnae.trainer.swarm import Swarm

NO_HOOK = (
    "cannot tell when it steps: it has no register_step_post_hook",
    "derive it from torch.optim.Optimizer and call its __init__, or leave out auto=True and call swarm.step() after each of its steps",
)


class StepHook:
    """Calls `swarm.step` after each step of the optimizer: none for a micro-batch, and none for a step that a GradScaler skips.

    `num_samples` and `loss` are for the next step; whoever knows them sets them. The optimizer keeps the swarm alive. After `leave()` of
    the swarm training goes on without it. With `wait=True` it only counts until `pass_on` is called, where nothing is half done: a merged
    model that is adopted between a forward pass and its backward pass makes torch refuse the latter.
    """

    def __init__(self, swarm: Swarm, optimizer: Any, *, wait: bool = False) -> None:
        self._wait, self._steps = wait, 0
        self.num_samples = 0
        self.loss: Any = None
        self._swarm = swarm
        self._handle = _hook_of(optimizer)(self._stepped)

    def remove(self) -> None:
        """Count no more. Idempotent."""
        self._handle.remove()

    def _stepped(self, *_: object) -> None:
        if self._swarm.left:
            self.remove()
            return
        self._steps += 1
        if not self._wait:
            self.pass_on()

    def pass_on(self) -> None:
        """Tell the swarm of the steps since the last call."""
        while self._steps and not self._swarm.left:
            num_samples, loss, self.num_samples, self.loss = self.num_samples, self.loss, 0, None
            self._steps -= 1
            self._swarm.step(num_samples=num_samples, loss=loss)


def check_hook(optimizer: Any) -> None:
    """Raises ConfigError for one whose steps cannot be counted."""
    _hook_of(optimizer)


def _hook_of(optimizer: Any) -> Callable[[Callable[..., None]], Any]:
    """Of the first optimizer, inside of what a library has wrapped around it. A wrapper's own hook may never be called."""
    if optimizer is None or not (found := optimizers_in(optimizer)):
        raise ConfigError(Problem("optimizer", "is missing: auto=True counts its steps", "give it: learnae.join(..., optimizer=optimizer)"))
    inner = unwrap(found[0])
    if not isinstance(inner, torch.optim.Optimizer) or not hasattr(inner, "_optimizer_step_post_hooks"):
        raise ConfigError(Problem(f"optimizer {type(found[0]).__name__}", *NO_HOOK))
    return inner.register_step_post_hook
