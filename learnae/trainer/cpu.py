"""Tensors of Learnae's own: ordinary ones, on the CPU and of a stated type, whatever defaults and modes the user has set for his."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

CPU = torch.device("cpu")


@contextmanager
def plainly() -> Iterator[None]:
    """Without autograd, and out of inference mode: a tensor that is made in there may not be written to from outside."""
    enabled = torch.is_grad_enabled()
    with torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext():
        try:
            torch.set_grad_enabled(False)
            yield
        finally:
            torch.set_grad_enabled(enabled)


def zeros(shape: Sequence[int], dtype: torch.dtype, *, pinned: bool = False) -> Tensor:
    """On the CPU, also inside of `torch.device(...)`; `pinned` where a GPU shall read it fast."""
    with plainly():
        return torch.zeros(tuple(shape), dtype=dtype, device=CPU, pin_memory=pinned)
