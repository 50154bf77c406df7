"""Stochastic gradient descent, written out: PyTorch's own optimizers take seconds to import, in each process anew."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


class PlainSGD:
    """Without momentum or any state: only what a trainer asks of an optimizer."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], rate: float = 0.1) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": list(parameters)}]
        self.state: dict[Any, Any] = {}
        self.rate = rate

    @torch.no_grad()
    def step(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.sub_(parameter.grad, alpha=self.rate)

    def zero_grad(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""
