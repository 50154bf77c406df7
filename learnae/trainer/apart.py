"""Buffers that mean something only as a whole, beside the weights that they belong to: what no average may be made of.

They stay part of the architecture. In a merge a peer keeps its own; who adopts a model takes them with it (docs/decisions/0019).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

_UNIT_VECTOR = re.compile(r"(.*_)?[uv]\d*")
UNIT = 1e-2  # so far from 1 its length may be, in bfloat16 too


def stands_apart(owners: Iterable[tuple[nn.Module, str]], tensor: Tensor) -> bool:
    """Whether this buffer, which is called so in these modules, must not be mixed. Asked at join; each peer goes by its own answer."""
    return any(is_known(owner, name) or _looks_spectral(owner, name, tensor) for owner, name in owners)


def is_known(owner: nn.Module, name: str) -> bool:
    """Whether torch itself made it, so that its name is no guess."""
    return any(rule(owner, name) for rule in RULES)


def _looks_spectral(owner: nn.Module, name: str, tensor: Tensor) -> bool:
    """Singular vectors of anybody's spectral norm: averages of unit vectors are shorter, or cancel each other out.

    `u` and `v`, however adorned, of length 1 and with one value for each row or column of a weight beside them. One that is normalised
    only with the first batch is not seen here; then merges keep its length.
    """
    if not _UNIT_VECTOR.fullmatch(name) or not tensor.is_floating_point() or tensor.numel() != max((0, *tensor.shape)):
        return False
    if not any(tensor.numel() in _sides(parameter) for parameter in owner.parameters(recurse=False) if parameter.dim() > 1):
        return False
    return abs(float(torch.linalg.vector_norm(tensor.detach().to(torch.float32))) - 1) < UNIT


def _sides(weight: Tensor) -> set[int]:
    """Of a weight that is flattened to a matrix along any of its dimensions."""
    return {side for length in weight.shape for side in (length, weight.numel() // max(length, 1))}


def _spectral(owner: nn.Module, name: str) -> bool:
    """Those of both of torch's spectral norms. Whose model has one has imported the module."""
    new = sys.modules.get("torch.nn.utils.parametrizations")
    if new is not None and isinstance(owner, new._SpectralNorm):
        return name in ("_u", "_v")
    old = sys.modules.get("torch.nn.utils.spectral_norm")
    hooks = [hook for hook in getattr(owner, "_forward_pre_hooks", {}).values() if old is not None and isinstance(hook, old.SpectralNorm)]
    return any(name in (f"{hook.name}_u", f"{hook.name}_v") for hook in hooks)


def _pruned(owner: nn.Module, name: str) -> bool:
    """The mask of torch.nn.utils.prune, of zeros and ones: half of a connection is none."""
    return name.endswith("_mask") and name.removesuffix("_mask") + "_orig" in owner._parameters


RULES: tuple[Callable[[nn.Module, str], bool], ...] = (_spectral, _pruned)
"""A rule is given the module that holds the buffer, and the name of the attribute there."""
