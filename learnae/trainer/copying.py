"""Copies of a model out of and into shared memory: in place, in pieces, without allocating anything of the size of the model.

A model is what its tensors hold plus what rounding took away: a bfloat16 parameter alone cannot take most of the small steps of an
average (at 0.02 a step of 1e-4 leaves a third of the coordinates where they were). That rest is kept as a float32 residue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from learnae.trainer.shareable import LOW_PRECISION
from learnae.trainer.shared import Place

CHUNK = 1 << 18
Area = Mapping[str, Tensor]


@attrs.frozen
class _Mark:
    """What tells whether a model has moved since a snapshot. Fused optimisers do not count versions, hence the steps."""

    steps: int
    versions: tuple[object, ...]


class Copier:
    """Takes snapshots of the shared tensors, and lets them adopt merged ones."""

    def __init__(self, places: Sequence[Place], slots: Sequence[Area], pages: Sequence[Area]) -> None:
        self._places, self._slots, self._pages = places, slots, pages
        self._marks: dict[int, _Mark] = {}
        on_gpu = any(place.tensor().is_cuda for place in places)
        self._scratch = torch.empty(2, CHUNK, dtype=torch.float32, pin_memory=on_gpu)
        self.residues: dict[str, Tensor] = {}
        for place in places:
            self._residue(place.name, place.tensor())

    @torch.no_grad()
    def snapshot(self, slot: int, steps: int) -> None:
        """Copy the model into a slot; `steps` says when."""
        tensors = [place.tensor() for place in self._places]
        for place, tensor in zip(self._places, tensors, strict=True):
            residue = self._residue(place.name, tensor)
            for copy, value, rest in _pieces(self._slots[slot][place.name], tensor, residue):
                copy.copy_(value)
                if residue is not None:
                    copy.add_(rest)
        self._marks[slot] = _mark(tensors, steps)

    @torch.no_grad()
    def adopt(self, page: int, slot: int, steps: int) -> None:
        """Add what the page has more than the slot; copy the page if nothing has moved since the slot was filled."""
        tensors = [place.tensor() for place in self._places]
        moved = _mark(tensors, steps) != self._marks.get(slot)
        for place, tensor in zip(self._places, tensors, strict=True):
            merged, start = self._pages[page][place.name], self._slots[slot][place.name]
            residue = self._residue(place.name, tensor)
            step = _step_for(tensor, moved)
            for mine, new, old, rest in _pieces(tensor, merged, start, residue):
                step(mine, new, old, rest, self._scratch)

    def load_residues(self, residues: Mapping[str, Tensor]) -> None:
        """Take residues up from a checkpoint; unknown ones, and those of another shape, are left."""
        for name, residue in self.residues.items():
            if name in residues and residues[name].shape == residue.shape:
                residue.copy_(residues[name])

    def follow(self, places: Sequence[Place]) -> None:
        """The same tensors, in other modules perhaps."""
        self._places = places

    def _residue(self, name: str, tensor: Tensor) -> Tensor | None:
        if tensor.dtype not in LOW_PRECISION:
            return None
        if name not in self.residues:
            self.residues[name] = torch.zeros(tensor.shape, dtype=torch.float32)
        return self.residues[name]


def _mark(tensors: Sequence[Tensor], steps: int) -> _Mark:
    return _Mark(steps, tuple((tensor.data_ptr(), None if tensor.is_inference() else tensor._version) for tensor in tensors))


def _pieces(*tensors: Tensor | None) -> Iterator[Any]:
    """The same piece of tensors of one shape, as views of at most CHUNK elements. In place of None the first one stands in."""
    first = tensors[0]
    assert first is not None
    whole = tuple(first if tensor is None else tensor for tensor in tensors)
    yield from _split(whole)


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


_Step = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], None]


def _step_for(tensor: Tensor, moved: bool) -> _Step:
    if tensor.dtype in LOW_PRECISION:
        return _add_with_residue if moved else _copy_with_residue
    if not tensor.is_floating_point():
        return _raise_whole if moved else _copy_whole
    if moved:
        return _add
    return _copy_changed if tensor.dtype == torch.float64 else _copy


def _copy(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> None:
    mine.copy_(new)


def _copy_changed(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> None:
    """What the merge left alone keeps its 64 bits."""
    mine.copy_(torch.where(new != old, new.double(), mine.cpu()))


def _add(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> None:
    mine.add_(_difference(new, old, scratch[0]).to(mine.device))


def _add_with_residue(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> None:
    wanted = _like(scratch[1], mine).copy_(mine).add_(rest).add_(_difference(new, old, scratch[0]))
    _round(mine, wanted, rest)


def _copy_with_residue(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> None:
    _round(mine, _like(scratch[1], mine).copy_(new), rest)


def _round(mine: Tensor, wanted: Tensor, rest: Tensor) -> None:
    """Write `wanted` into a tensor of low precision, and what does not fit into the residue."""
    limit = torch.finfo(mine.dtype).max
    mine.copy_(wanted.clamp_(-limit, limit))
    rest.copy_(mine)
    torch.sub(wanted, rest, out=rest)


def _copy_whole(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> None:
    if mine.dtype == torch.bool:
        mine.copy_(new != 0)
    else:
        info = torch.iinfo(mine.dtype)
        mine.copy_(new.clamp(info.min, info.max))


def _raise_whole(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> None:
    """Counters that ran on meanwhile are not set back."""
    _copy_whole(mine, torch.maximum(new, mine.to("cpu", torch.int64)), old, rest, scratch)


def _difference(new: Tensor, old: Tensor, scratch: Tensor) -> Tensor:
    return torch.sub(new, old, out=_like(scratch, new))


def _like(scratch: Tensor, tensor: Tensor) -> Tensor:
    return scratch[: tensor.numel()].view(tensor.shape)
