"""How a model takes up a merged one: parameters are added to, buffers and integers assigned, and an interrupt leaves nothing half done.

Python may raise a KeyboardInterrupt, or whatever else a signal's handler raises, between any two instructions. So each piece is first
worked out beside the model, and only then written, by one call that may as well be made twice; what has been written is remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import torch
from torch import Tensor

from learnae.trainer.cpu import plainly
from learnae.trainer.pieces import like, pieces
from learnae.trainer.shareable import LOW_PRECISION
from learnae.trainer.shared import Place

Area = Mapping[str, Tensor]


@attrs.define
class Adoption:
    """One page on its way into the model. `finish` may be called until it returns: it goes on where it was interrupted."""

    merged: Area
    start: Area  # the snapshot that it was merged from
    residues: Mapping[str, Tensor]
    scratch: Tensor = attrs.field(repr=False)
    steps: int
    moved: bool  # since that snapshot
    whole: bool  # the model of another peer, not one that was merged with the own
    _written: int = 0  # pieces
    _ready: int = -1  # the piece whose new values are in `_values`
    _values: Tensor | None = None

    def finish(self, places: Sequence[Place], steps: int) -> None:
        """Write what is not written yet. Raises ConfigError if the module was rebuilt, before anything is written."""
        tensors = [place.tensor() for place in places]
        moved, index = self.moved or steps != self.steps, 0
        with plainly():
            for place, tensor in zip(places, tensors, strict=True):
                merged, start = self.merged[place.name], self.start[place.name]
                work = _work_for(place, tensor, moved=moved, whole=self.whole)
                if work.assigns and torch.equal(merged, start):
                    continue  # what the merge left alone keeps what it ran on to meanwhile
                for piece in pieces(tensor, merged, start, self.residues.get(place.name)):
                    if index >= self._written:
                        self._take(index, work, *piece)
                    index += 1

    def _take(self, index: int, work: _Work, mine: Tensor, new: Tensor, old: Tensor, rest: Tensor) -> None:
        if self._ready != index:
            self._values = work.prepare(mine, new, old, rest, self.scratch)
            self._ready = index
        assert self._values is not None
        work.write(mine, self._values, rest)
        self._written = index + 1


@attrs.frozen
class _Work:
    """How one kind of tensor is adopted: `prepare` writes to the scratch alone, `write` gives the same however often it is called."""

    prepare: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
    write: Callable[[Tensor, Tensor, Tensor], None]
    assigns: bool = False


def _work_for(place: Place, tensor: Tensor, *, moved: bool, whole: bool) -> _Work:
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
    return _within(mine.dtype, like(scratch[1], mine).copy_(mine).add_(rest).add_(difference))


def _page_for_residue(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> Tensor:
    return _within(mine.dtype, like(scratch[1], mine).copy_(new))


_rounded = _page_for_residue  # the same, but what rounding takes away is gone


def _within(dtype: torch.dtype, values: Tensor) -> Tensor:
    limit = torch.finfo(dtype).max
    return values.clamp_(-limit, limit)


def _integers(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> Tensor:
    if mine.dtype == torch.bool:
        return new != 0
    info = torch.iinfo(mine.dtype)
    return new.clamp(info.min, info.max)


def _raised(mine: Tensor, new: Tensor, old: Tensor, rest: Tensor, scratch: Tensor) -> Tensor:
    """Counters that ran on meanwhile are not set back."""
    return _integers(mine, torch.maximum(new, mine.to("cpu", torch.int64)), old, rest, scratch)


def _assign(mine: Tensor, values: Tensor, rest: Tensor) -> None:
    if mine.is_inference():  # a buffer that was made in inference mode may be written to only there
        with torch.inference_mode():
            mine.copy_(values)
    else:
        mine.copy_(values)


def _assign_with_residue(mine: Tensor, values: Tensor, rest: Tensor) -> None:
    """What does not fit into a tensor of low precision goes into the residue."""
    _assign(mine, values, rest)
    rest.copy_(mine)
    torch.sub(values, rest, out=rest)
