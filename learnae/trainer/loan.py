"""The merged model, lent: for a while it stands in the place of the one that is trained, whose bits then come back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import torch
from torch import Tensor, float32

from learnae.trainer.copying import CHUNK, assign, like, pieces, whole_numbers, within
from learnae.trainer.shared import LOW_PRECISION
from learnae.trainer.shared_memory import plainly, zeros


@attrs.define
class ModelLoan:
    """What stood in the tensors of a model before a merged one was lent to them.

    `begin` and `end` may each be cut short by an interrupt, and called again.
    """

    tensors: Sequence[Tensor]
    merged: Sequence[Tensor]  # float32 or int64, of the same shapes
    own: Sequence[Tensor]  # on the CPU: a second model would fit into few GPUs
    snapshots: Sequence[int] = ()  # the slots that hold the same as `own`
    over: bool = False  # it is to end, and may have ended in part

    @classmethod
    def of(cls, tensors: Sequence[Tensor], merged: Sequence[Tensor], *, snapshots: Sequence[int] = ()) -> ModelLoan:
        with plainly():
            return cls(tensors, merged, [tensor.detach().to("cpu", copy=True) for tensor in tensors], snapshots)

    def begin(self) -> None:
        with plainly():
            for tensor, merged in zip(self.tensors, self.merged, strict=True):
                _fill(tensor, merged)

    def end(self) -> None:
        self.over = True
        with plainly():
            for tensor, own in zip(self.tensors, self.own, strict=True):
                assign(tensor, own)


def merged_tensors(state: Mapping[str, object], tensors: Sequence[Tensor], merged: Sequence[Tensor]) -> dict[str, Tensor]:
    """By the names of a module's `state`: what the merged model has in place of each of its tensors, where that is something else.

    A tensor of `state` is told by its memory, since wrappers give it other names. Copies, in the type of the model.
    """
    found: dict[str, Tensor] = {}
    with plainly():
        by_place = {_place(tensor): (tensor, new) for tensor, new in zip(tensors, merged, strict=True) if tensor.numel()}
        for name, value in state.items():
            if isinstance(value, Tensor) and _place(value) in by_place:
                tensor, new = by_place[_place(value)]
                copy = torch.empty_like(tensor, device="cpu")
                _fill(copy, new)
                if not torch.equal(copy, tensor.detach().cpu()):
                    found[name] = copy
    return found


def _place(tensor: Tensor) -> tuple[object, ...]:
    return (tensor.device, tensor.data_ptr(), tuple(tensor.shape), tensor.stride())


def _fill(tensor: Tensor, merged: Tensor) -> None:
    """With what an adoption of the merged one would make of it."""
    if not tensor.is_floating_point():
        assign(tensor, whole_numbers(tensor.dtype, merged))
    elif tensor.dtype in LOW_PRECISION:
        scratch = zeros((CHUNK,), float32)
        for mine, new in pieces(tensor, merged):
            assign(mine, within(tensor.dtype, like(scratch, new).copy_(new)))
    else:
        assign(tensor, merged)
