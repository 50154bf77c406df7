"""Copies a model into shared memory, and adopts a merged one: in place, piece by piece, without memory of the model's size.

Between any two instructions of Python a signal's handler may run. It may raise, and it may save a checkpoint, which finishes the adoption
inside of the one that it came into. So each piece is first worked out beside the model, in memory of this call's own, and only then
written; writing it and noting that it is written is one instruction, and nothing that was noted is ever taken back.

A model is what its tensors hold plus what rounding took away: a bfloat16 parameter alone cannot take most of the small steps of an
average (at 0.02 a step of 1e-4 leaves a third of the coordinates where they were). That rest is kept as a float32 residue. A buffer has
none: nothing is ever added to it.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import torch
from torch import Tensor, float32

from learnae.trainer.shared import LOW_PRECISION, SharedTensor
from learnae.trainer.shared_memory import plainly, zeros

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


Tensors = Mapping[str, Tensor]
Writes = tuple[Callable[[], object], ...]


@attrs.define
class AdoptionInProgress:
    """One page on its way into the model. `finish` may be called until it returns: it goes on where it was interrupted."""

    merged: Tensors
    start: Tensors  # the snapshot that it was merged from
    residues: Mapping[str, Tensor]
    scratch: Tensor = attrs.field(repr=False)
    steps: int
    moved: bool  # since that snapshot
    whole: bool  # the model of another peer, not one that was merged with the own
    _begun: bool = False
    _done: bool = False
    _written: set[tuple[str, int]] = attrs.field(factory=set)  # pieces

    def finish(self, places: Sequence[SharedTensor], steps: int) -> None:
        """Write what is not written yet. Raises ConfigError if the module was rebuilt, before anything is written."""
        tensors = [place.tensor() for place in places]
        again, self._begun = self._begun, True
        if self._done:
            return
        scratch = zeros(self.scratch.shape, torch.float32) if again else self.scratch  # an earlier call may still be using that
        moved = again or self.moved or steps != self.steps
        with plainly():
            for place, tensor in zip(places, tensors, strict=True):
                merged, start = self.merged[place.name], self.start[place.name]
                work = _work_for(place, tensor, moved=moved, whole=self.whole)
                if work.assigns and torch.equal(merged, start):
                    continue  # what the merge left alone keeps what it ran on to meanwhile
                for number, piece in enumerate(pieces(tensor, merged, start, self.residues.get(place.name))):
                    if (place.name, number) not in self._written:
                        self._take((place.name, number), work, scratch, *piece)
        self._done = True

    def _take(self, key: tuple[str, int], work: _Work, scratch: Tensor, mine: Tensor, new: Tensor, old: Tensor, rest: Tensor) -> None:
        values = work.prepare(mine, new, old, rest, scratch)
        if key in self._written:
            return  # a handler's call wrote it meanwhile, so that these values may contain it twice
        writes: Writes = (*work.write(mine, values, rest), partial(self._written.add, key))
        if mine.is_inference():  # a buffer that was made in inference mode may be written to only there
            with torch.inference_mode():
                _as_one(*writes)
        else:
            _as_one(*writes)


def _as_one(*calls: Callable[[], object]) -> None:
    """Signals are looked for between two instructions of Python, and all of this is one: so all calls must be of C."""
    deque(map(operator.call, calls), maxlen=0)


@attrs.frozen
class _Work:
    """How one kind of tensor is adopted: `prepare` writes to the scratch alone, `write` names the calls that write to the model."""

    prepare: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
    write: Callable[[Tensor, Tensor, Tensor], Writes]
    assigns: bool = False


def _work_for(place: SharedTensor, tensor: Tensor, *, moved: bool, whole: bool) -> _Work:
    if not tensor.is_floating_point():
        return _Work(_integers if whole or not moved else _raised, _assign, assigns=True)
    if place.spec.buffer:
        return _Work(_rounded if tensor.dtype in LOW_PRECISION else _page if moved else _page_in(tensor), _assign, assigns=True)
    if tensor.dtype in LOW_PRECISION:
        return _Work(_added_to_residue if moved else _page_for_residue, _assign_with_residue)
    return _Work(_added if moved else _page_in(tensor), _assign)


def _page_in(tensor: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    return _changed_of_page if tensor.dtype == torch.float64 else _page


def _page(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> Tensor:
    return new


def _changed_of_page(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> Tensor:
    """What the merge left alone keeps its 64 bits."""
    return torch.where(new != old, new.double(), mine.cpu())


def _added(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> Tensor:
    difference = torch.sub(new, old, out=like(scratch[0], new))
    if mine.dtype == torch.float32 and mine.device.type == "cpu":
        return difference.add_(mine)
    return mine + difference.to(mine.device)


def _added_to_residue(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> Tensor:
    difference = torch.sub(new, old, out=like(scratch[0], new))
    return within(mine.dtype, like(scratch[1], mine).copy_(mine).add_(rest).add_(difference))


def _page_for_residue(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> Tensor:
    return within(mine.dtype, like(scratch[1], mine).copy_(new))


_rounded = _page_for_residue  # the same, but what rounding takes away is gone


def assign(tensor: Tensor, values: Tensor) -> None:
    """Also where the tensor was made in inference mode: such a one may be written to only there."""
    if tensor.is_inference():
        with torch.inference_mode():
            tensor.copy_(values)
    else:
        tensor.copy_(values)


def within(dtype: torch.dtype, values: Tensor) -> Tensor:
    """Values of float32 that this type of low precision can hold, in place."""
    limit = torch.finfo(dtype).max
    return values.clamp_(-limit, limit)


def whole_numbers(dtype: torch.dtype, values: Tensor) -> Tensor:
    """Values of int64 that this type, which has no fractions, can hold."""
    if dtype == torch.bool:
        return values != 0
    info = torch.iinfo(dtype)
    return values.clamp(info.min, info.max)


def _integers(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> Tensor:
    return whole_numbers(mine.dtype, new)


def _raised(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> Tensor:
    """Counters that ran on meanwhile are not set back."""
    return _integers(mine, torch.maximum(new, mine.to("cpu", torch.int64)), old, rest, scratch)


def _assign(mine: Tensor, values: Tensor, rest: Tensor) -> Writes:
    return (partial(mine.copy_, values),)


def _assign_with_residue(mine: Tensor, values: Tensor, rest: Tensor) -> Writes:
    """What does not fit into a tensor of low precision goes into the residue."""
    return partial(mine.copy_, values), partial(rest.copy_, mine), partial(torch.sub, values, rest, out=rest)


@attrs.frozen
class _Mark:
    """What tells whether a model has moved since a snapshot. Fused optimisers do not count versions, hence the steps."""

    steps: int
    versions: tuple[object, ...]


class ModelCopier:
    """Takes snapshots of the shared tensors, and lets them adopt merged ones."""

    def __init__(self, places: Sequence[SharedTensor], slots: Sequence[Tensors], pages: Sequence[Tensors]) -> None:
        self._places, self._slots, self._pages = places, slots, pages
        self._marks: dict[int, _Mark] = {}
        on_gpu = any(place.tensor().is_cuda for place in places)
        self._scratch = zeros((2, CHUNK), float32, pinned=on_gpu)
        self.residues: dict[str, Tensor] = {}
        for place in places:
            self._residue(place, place.tensor())

    def snapshot(self, slot: int, steps: int) -> None:
        """Copy the model into a slot; `steps` says when. One that was interrupted is worth nothing: begin it again."""
        tensors = [place.tensor() for place in self._places]
        self._marks.pop(slot, None)
        with plainly():
            for place, tensor in zip(self._places, tensors, strict=True):
                residue = self._residue(place, tensor)
                for copy, value, rest in pieces(self._slots[slot][place.name], tensor, residue):
                    copy.copy_(value)
                    if residue is not None:
                        copy.add_(rest)
        self._marks[slot] = _mark(tensors, steps)

    def adoption(self, page: int, slot: int, steps: int, *, whole: bool = False) -> AdoptionInProgress:
        """What lets the model adopt a page that was made from the snapshot in that slot; `whole`: it is the model of somebody else."""
        tensors = [place.tensor() for place in self._places]
        moved = _mark(tensors, steps) != self._marks.get(slot)
        return AdoptionInProgress(self._pages[page], self._slots[slot], self.residues, self._scratch, steps, moved, whole)

    def adopt(self, page: int, slot: int, steps: int, *, whole: bool = False) -> None:
        """All of it, at once."""
        self.adoption(page, slot, steps, whole=whole).finish(self._places, steps)

    def beside(self, page: int) -> tuple[list[Tensor], list[Tensor]]:
        """The tensors of the model, and those of that page in the same order."""
        return [place.tensor() for place in self._places], [self._pages[page][place.name] for place in self._places]

    def snapshots_of(self, steps: int) -> list[int]:
        """The slots whose snapshots hold the model as it is."""
        mark = _mark([place.tensor() for place in self._places], steps)
        return [slot for slot, taken in self._marks.items() if taken == mark]

    def has_not_moved(self, slots: Sequence[int], steps: int) -> None:
        """The model is again what it was in these snapshots, though it was written to."""
        mark = _mark([place.tensor() for place in self._places], steps)
        self._marks.update(dict.fromkeys(slots, mark))

    def copy_residues(self) -> dict[str, Tensor]:
        """By name, for a checkpoint."""
        with plainly():
            return {name: residue.clone() for name, residue in self.residues.items()}

    def load_residues(self, residues: Mapping[str, Tensor]) -> None:
        """Take residues up from a checkpoint; unknown ones, and those of another shape, are left."""
        with plainly():
            for name, residue in self.residues.items():
                if name in residues and residues[name].shape == residue.shape:
                    residue.copy_(residues[name])

    def follow(self, places: Sequence[SharedTensor]) -> None:
        """The same tensors, in other modules perhaps."""
        self._places = places

    def _residue(self, place: SharedTensor, tensor: Tensor) -> Tensor | None:
        if tensor.dtype not in LOW_PRECISION or place.spec.buffer:
            return None
        if place.name not in self.residues:
            self.residues[place.name] = zeros(tensor.shape, float32)
        return self.residues[place.name]


def _mark(tensors: Sequence[Tensor], steps: int) -> _Mark:
    return _Mark(steps, tuple((tensor.data_ptr(), None if tensor.is_inference() else tensor._version) for tensor in tensors))
