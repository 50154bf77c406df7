"""With `auto=True` the optimizer's own hook counts the steps."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import learnae
from learnae.errors import ConfigError
from learnae.trainer.step_hook import StepHook, check_hook
from learnae.trainer.swarm import Swarm

MakeSwarm = Callable[..., Swarm]


class Wrapped(torch.optim.Optimizer):
    """As accelerate's: it derives from Optimizer, and never calls its __init__."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    @property
    def param_groups(self) -> Any:
        return self.optimizer.param_groups

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.optimizer.step(closure)


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def backward(model: nn.Module, scale: float = 1.0) -> torch.Tensor:
    loss = scale * model(torch.ones(1, 2)).sum()
    loss.backward()
    return loss


@pytest.mark.parametrize("wrap", [lambda one: one, Wrapped, lambda one: [one]], ids=["plain", "wrapped", "in a list"])
def test_each_step_of_the_optimizer_counts(make_swarm: MakeSwarm, zeros: nn.Module, wrap: Callable[[Any], Any]) -> None:
    swarm, optimizer = make_swarm(zeros, start=False), sgd(zeros)
    StepHook(swarm, wrap(optimizer))
    for _ in range(3):
        backward(zeros)  # two micro-batches, one step
        backward(zeros)
        wrapped = wrap(optimizer)
        (wrapped[0] if isinstance(wrapped, list) else wrapped).step()
    assert swarm.status.steps == 3


def test_a_closure_that_is_called_within_a_step_makes_no_step_of_its_own(make_swarm: MakeSwarm, zeros: nn.Module) -> None:
    swarm, optimizer = make_swarm(zeros, start=False), torch.optim.LBFGS(zeros.parameters(), max_iter=3)
    StepHook(swarm, optimizer)
    optimizer.step(lambda: backward(zeros))
    assert swarm.status.steps == 1


def test_a_step_that_a_gradient_scaler_skips_does_not_count(make_swarm: MakeSwarm, zeros: nn.Module) -> None:
    swarm, optimizer = make_swarm(zeros, start=False), sgd(zeros)
    StepHook(swarm, optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for factor in (1.0, float("inf"), 1.0):
        optimizer.zero_grad()
        scaler.scale(factor * zeros(torch.ones(1, 2)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert swarm.status.steps == 2


def test_what_was_set_for_a_step_goes_with_it_alone(make_swarm: MakeSwarm, zeros: nn.Module) -> None:
    swarm, optimizer = make_swarm(zeros, start=False), sgd(zeros)
    hook = StepHook(swarm, optimizer)
    hook.num_samples, hook.loss = 8, 0.25
    optimizer.step()
    optimizer.step()
    assert swarm.status.samples == 8
    assert swarm._session.model_progress.loss == 0.25


def test_after_leaving_training_goes_on_without_the_swarm(make_swarm: MakeSwarm, zeros: nn.Module) -> None:
    swarm, optimizer = make_swarm(zeros, start=False), sgd(zeros)
    StepHook(swarm, optimizer)
    optimizer.step()
    swarm.leave()
    optimizer.step()
    assert swarm.status.steps == 1


def test_the_optimizer_holds_the_swarm_and_both_go_together(make_swarm: MakeSwarm, zeros: nn.Module) -> None:
    optimizer = sgd(zeros)
    StepHook(make_swarm(zeros, start=False), optimizer)
    held = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert held() is None


class NotOfTorch:
    def __init__(self, model: nn.Module) -> None:
        self.param_groups = [{"params": list(model.parameters())}]

    def step(self) -> None: ...
    def zero_grad(self) -> None: ...


@pytest.mark.parametrize("optimizer", [None, [], NotOfTorch], ids=["none", "no one in the list", "no hook"])
def test_what_cannot_be_counted_is_refused_before_anything_begins(zeros: nn.Module, optimizer: Any) -> None:
    made = optimizer(zeros) if isinstance(optimizer, type) else optimizer
    with pytest.raises(ConfigError, match="optimizer"):
        check_hook(made)
    with pytest.raises(ConfigError, match="optimizer"):
        learnae.join(zeros, "nowhere", optimizer=made, auto=True)


def test_an_observer_has_no_steps_to_count(zeros: nn.Module) -> None:
    with pytest.raises(ConfigError, match="observer"):
        learnae.join(zeros, "nowhere", optimizer=sgd(zeros), auto=True, overrides=['peer.role="observer"'])
