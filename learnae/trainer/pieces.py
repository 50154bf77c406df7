"""The same piece of several tensors of one shape, small enough for the cache, as views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

CHUNK = 1 << 18


def pieces(*tensors: Tensor | None) -> Iterator[Any]:
    """Tuples of views of at most CHUNK elements; in place of None the first tensor stands in."""
    first = tensors[0]
    assert first is not None
    yield from _split(tuple(first if tensor is None else tensor for tensor in tensors))


def like(scratch: Tensor, tensor: Tensor) -> Tensor:
    """So much of the scratch, of one dimension, as a tensor of that shape."""
    return scratch[: tensor.numel()].view(tensor.shape)


def _split(tensors: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    first = tensors[0]
    if first.numel() <= CHUNK:
        yield tensors
    elif first.dim() > 1 and all(tensor.is_contiguous() for tensor in tensors):
        yield from _split(tuple(tensor.view(-1) for tensor in tensors))
    elif (row := first[0].numel()) > CHUNK:
        for index in range(len(first)):
            yield from _split(tuple(tensor[index] for tensor in tensors))
    else:
        for start in range(0, len(first), CHUNK // row):
            yield tuple(tensor[start : start + CHUNK // row] for tensor in tensors)
