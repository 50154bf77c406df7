"""Buffers that mean something only as a whole, beside the weights that they belong to: what no average may be made of.

They stay part of the architecture. In a merge a peer keeps its own; who adopts a model takes them with it (docs/decisions/0019).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable

from torch import Tensor, nn

_UNIT_VECTOR = re.compile(r"(.*_)?[uv]\d*")


def stands_apart(owners: Iterable[tuple[nn.Module, str]], tensor: Tensor) -> bool:
    """Whether this buffer, which is called so in these modules, must not be mixed. The same for all peers: no value is looked at."""
    return any(rule(owner, name, tensor) for owner, name in owners for rule in RULES)


def _spectral(owner: nn.Module, name: str, tensor: Tensor) -> bool:
    """Singular vectors of spectral norm, torch's or any other: averages of unit vectors are shorter, or cancel each other out.

    `u` and `v`, however adorned, with one value for each row or column of a weight beside them.
    """
    if not _UNIT_VECTOR.fullmatch(name) or not tensor.is_floating_point() or tensor.numel() != max((0, *tensor.shape)):
        return False
    parametrizations = sys.modules.get("torch.nn.utils.parametrizations")  # whose model has one has imported it
    if parametrizations is not None and isinstance(owner, parametrizations._SpectralNorm):
        return True
    return any(tensor.numel() in _sides(parameter) for parameter in owner.parameters(recurse=False) if parameter.dim() > 1)


def _sides(weight: Tensor) -> set[int]:
    """Of a weight that is flattened to a matrix along any of its dimensions."""
    return {side for length in weight.shape for side in (length, weight.numel() // max(length, 1))}


def _pruned(owner: nn.Module, name: str, tensor: Tensor) -> bool:
    """The mask of torch.nn.utils.prune, of zeros and ones: half of a connection is none."""
    return name.endswith("_mask") and name.removesuffix("_mask") + "_orig" in owner._parameters


RULES: tuple[Callable[[nn.Module, str, Tensor], bool], ...] = (_spectral, _pruned)
"""A rule is given the module that holds the buffer, the name of the attribute there, and the buffer."""
