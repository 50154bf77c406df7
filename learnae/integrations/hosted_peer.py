"""What all callbacks have in common: a swarm that is joined when training begins, and left when it ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs
from torch import nn

from learnae.errors import ConfigError, Problem
from learnae.trainer.join import join
from learnae.trainer.loop import told
from learnae.trainer.ranks import in_a_job
from learnae.trainer.step_hook import StepHook, check_hook
from learnae.trainer.swarm import Swarm

LAST_MERGE_SECONDS = 5.0


@attrs.define
class HostedPeer:
    """The swarm of one run of a trainer. `arguments` are those of `learnae.join`, but for model, optimizer and `resume`."""

    name: str | None
    arguments: Mapping[str, Any]
    evaluate_merged: bool = True
    resume: Mapping[str, Any] | None = None  # what a checkpoint of the host had
    swarm: Swarm | None = None
    hook: StepHook | None = None
    _lent: ExitStack = attrs.field(factory=ExitStack)
    _lending: bool = False

    def begin(self, model: nn.Module, optimizer: Any, *, wait: bool = False) -> None:
        """End what an interrupted run has left, and join. `wait` is that of `StepHook`. Raises as `learnae.join`."""
        self.end(adopt=False)
        check_hook(optimizer)
        refuse_ranks()
        resume, self.resume = self.resume, None  # for this run: the next one may train another model
        self.swarm = join(model, self.name, optimizer=optimizer, resume=resume, **self.arguments)
        self.hook = StepHook(self.swarm, optimizer, wait=wait)

    @property
    def lends(self) -> bool:
        """Whether the model is the merged one now."""
        return self._lending

    def lend_merged(self) -> None:
        """From here on the model is the one that was merged last, until `take_back`."""
        self.take_back()
        if self.swarm is not None and not self.swarm.left and self.evaluate_merged:
            self._lending = self._lent.enter_context(self.swarm.merged())

    def take_back(self) -> None:
        """The model is the trained one again. Idempotent."""
        self._lent.close()
        self._lending = False

    @contextmanager
    def trained(self) -> Iterator[None]:
        """Inside the model is the trained one, also in the middle of an evaluation."""
        lends = self._lending
        self.take_back()
        try:
            yield
        finally:
            if lends:
                self.lend_merged()

    def log_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Tell the swarm what was measured, as far as it is numbers."""
        if self.swarm is not None and not self.swarm.left and (numbers := _numbers(metrics)):
            self.swarm.log_metrics(told(numbers))

    def end(self, *, adopt: bool) -> None:
        """Leave. With `adopt` the model is first the one that comes of the last merge, if it comes within seconds. Idempotent."""
        self.take_back()
        if self.swarm is not None and not self.swarm.left:
            try:
                if adopt:
                    self.swarm.flush(LAST_MERGE_SECONDS)
            finally:
                self.swarm.leave()
        if self.hook is not None:
            self.hook.remove()

    def state_dict(self) -> dict[str, Any]:
        """What the host's checkpoint has to hold."""
        if self.swarm is None:
            return dict(self.resume or {})
        with self.trained():
            return self.swarm.state_dict()


def refuse_ranks() -> None:
    """Raises ConfigError in a job of several processes: hosts ask rank 0 alone for a part of what all ranks would have to do."""
    if in_a_job():
        remedy = "train in one process, or write the loop yourself: learnae.join(..., auto=True) in each process"
        raise ConfigError(Problem("LearnaeCallback", "is for one process, and this job has several", remedy))


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    found = {}
    for name, value in metrics.items():
        try:
            number = float(value)
        except (TypeError, ValueError, RuntimeError):
            continue
        if math.isfinite(number):
            found[str(name)] = number
    return found
