"""What kinds of tensors can be shared, and what to say of the others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

LOW_PRECISION = frozenset({torch.bfloat16, torch.float16})
FLOATING = LOW_PRECISION | {torch.float32, torch.float64}
WHOLE = frozenset({torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool})


def why_not(tensor: Tensor, *, frozen: bool = False) -> str:
    """Why a tensor cannot be shared, with what to do; empty if it can. A frozen one is only hashed, so that its type is free."""
    if is_lazy(tensor):
        return "has no shape yet: run one batch through the model before learnae.join()"
    if tensor.is_meta:
        return "is on the meta device and has no values: materialise the model first"
    if tensor.layout != torch.strided:
        return f"is {tensor.layout}: make it dense"
    if hasattr(tensor, "device_mesh") or is_traceable_wrapper_subclass(tensor):
        return f"is a {type(tensor).__name__}: sharded and wrapped tensors are not supported yet, share the plain model"
    if tensor.is_quantized:
        return "is quantised: share the model before quantising it"
    return "" if frozen else _why_not_plain(tensor)


def _why_not_plain(tensor: Tensor) -> str:
    if tensor.is_complex():
        return "is complex: hold it as a real tensor (torch.view_as_real)"
    if tensor.dtype not in FLOATING | WHOLE:
        return f"has the type {tensor.dtype}, which is not supported"
    if any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True)):
        return "is expanded: several of its elements are one in memory; use .contiguous()"
    return ""
