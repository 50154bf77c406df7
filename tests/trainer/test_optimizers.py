from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from learnae.errors import ConfigError
from learnae.trainer.arguments import refuse_masters


@pytest.fixture
def low() -> nn.Module:
    return nn.Linear(2, 3).bfloat16()


def masters(model: nn.Module) -> list[nn.Parameter]:
    return [nn.Parameter(parameter.detach().float()) for parameter in model.parameters()]


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_an_optimizer_of_the_models_own_parameters_is_fine_also_after_steps(kind: Any, low: nn.Module) -> None:
    optimizer = kind(low.parameters(), lr=0.1)
    low(torch.ones(1, 2).bfloat16()).sum().backward()
    optimizer.step()
    refuse_masters(optimizer, low)
    refuse_masters(optimizer, nn.DataParallel(low))


def test_an_optimizer_that_trains_something_else_beside_is_fine(low: nn.Module) -> None:
    refuse_masters(torch.optim.SGD([*low.parameters(), nn.Parameter(torch.zeros(7))], lr=0.1), low)


def test_float32_copies_in_the_groups_are_refused(low: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"float32 copies.*torch\.autocast"):
        refuse_masters(torch.optim.SGD(masters(low), lr=0.1), low)


def test_float32_copies_behind_a_wrapper_are_refused(low: nn.Module) -> None:
    with pytest.raises(ConfigError, match="float32 copies"):
        refuse_masters(SimpleNamespace(optimizer=torch.optim.SGD(masters(low), lr=0.1)), low)


def test_float32_copies_in_the_state_are_refused(low: nn.Module) -> None:
    optimizer = torch.optim.SGD(low.parameters(), lr=0.1)
    optimizer.state[low.weight]["master_param"] = low.weight.detach().float()
    with pytest.raises(ConfigError, match="float32 copies"):
        refuse_masters(optimizer, low)


def test_an_optimizer_that_says_it_keeps_masters_is_refused_for_low_precision_only(low: nn.Module) -> None:
    optimizer: Any = torch.optim.SGD(low.parameters(), lr=0.1)
    optimizer.master_weights = True
    with pytest.raises(ConfigError, match="float32 copies"):
        refuse_masters(optimizer, low)
    full = nn.Linear(2, 3)
    optimizer = torch.optim.SGD(full.parameters(), lr=0.1)
    optimizer.master_weights = True
    refuse_masters(optimizer, full)


def test_an_optimizer_of_another_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="none of the model's parameters"):
        refuse_masters(torch.optim.SGD(nn.Linear(2, 3).parameters(), lr=0.1), nn.Linear(2, 3))
