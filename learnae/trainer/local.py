"""Buffers that stay local by themselves, though nobody asked for it: what they hold cannot be merged, or must not be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

import attrs
import torch
from torch import Tensor, nn

OBSERVERS = {"observer": "ObserverBase", "fake_quantize": "FakeQuantizeBase"}


@attrs.frozen
class Kept:
    """A buffer that stays local, and why."""

    name: str
    reason: str


def why_local(owner: nn.Module, attribute: str, tensor: Tensor) -> str:
    """Why this buffer of a module stays local; empty if it is shared. Asked at join alone, of what could be shared."""
    return next((reason for rule in RULES if (reason := rule(owner, attribute, tensor))), "")


def is_finite(tensor: Tensor) -> bool:
    """Whether all that is copied of it, which is float32, is finite. Integers always are."""
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor.detach().to(torch.float32)).all())


def by_reason(kept: Iterable[Kept]) -> dict[str, list[str]]:
    """The names of what stays local for one reason."""
    names: dict[str, list[str]] = {}
    for one in kept:
        names.setdefault(one.reason, []).append(one.name)
    return names


def listed(names: Sequence[str], most: int = 6, between: str = ", ") -> str:
    """Some of these names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def _observer(owner: nn.Module, attribute: str, tensor: Tensor) -> str:
    """Before the first batch they hold infinities, later the range of the own data, in other shapes: what is shared must not go by that."""
    for module, kind in OBSERVERS.items():
        there = sys.modules.get(f"torch.ao.quantization.{module}")  # whose model has one has imported it
        if there is not None and isinstance(owner, getattr(there, kind)):
            return "belongs to an observer of torch.ao.quantization, which watches the data of this peer"
    return ""


def _never_finite(owner: nn.Module, attribute: str, tensor: Tensor) -> str:
    """A causal mask of -inf, a padding of NaN."""
    return "" if is_finite(tensor) else "holds values that are not finite, which nobody can merge"


RULES: Sequence[Callable[[nn.Module, str, Tensor], str]] = (_observer, _never_finite)
"""A rule is given the module that holds the tensor, the name of the attribute there and the buffer, and says why it stays local, or "".

The same model must give the same answer in all peers, whenever they join: what stays local is no part of the architecture.
"""
