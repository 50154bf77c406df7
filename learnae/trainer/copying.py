"""Copies of a model out of and into shared memory: in place, in pieces, without allocating anything of the size of the model.

A model is what its tensors hold plus what rounding took away: a bfloat16 parameter alone cannot take most of the small steps of an
average (at 0.02 a step of 1e-4 leaves a third of the coordinates where they were). That rest is kept as a float32 residue. A buffer has
none: nothing is ever added to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
from torch import Tensor, float32

from learnae.trainer import pieces
from learnae.trainer.adoption import Adoption
from learnae.trainer.cpu import plainly, zeros
from learnae.trainer.pieces import pieces as pieces_of
from learnae.trainer.shareable import LOW_PRECISION
from learnae.trainer.shared import Place

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
        self._scratch = zeros((2, pieces.CHUNK), float32, pinned=on_gpu)
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
                for copy, value, rest in pieces_of(self._slots[slot][place.name], tensor, residue):
                    copy.copy_(value)
                    if residue is not None:
                        copy.add_(rest)
        self._marks[slot] = _mark(tensors, steps)

    def adoption(self, page: int, slot: int, steps: int, *, whole: bool = False) -> Adoption:
        """What lets the model adopt a page that was made from the snapshot in that slot; `whole`: it is the model of somebody else."""
        tensors = [place.tensor() for place in self._places]
        moved = _mark(tensors, steps) != self._marks.get(slot)
        return Adoption(self._pages[page], self._slots[slot], self.residues, self._scratch, steps, moved, whole)

    def adopt(self, page: int, slot: int, steps: int, *, whole: bool = False) -> None:
        """All of it, at once."""
        self.adoption(page, slot, steps, whole=whole).finish(self._places, steps)

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

    def follow(self, places: Sequence[Place]) -> None:
        """The same tensors, in other modules perhaps."""
        self._places = places

    def _residue(self, place: Place, tensor: Tensor) -> Tensor | None:
        if tensor.dtype not in LOW_PRECISION or place.spec.buffer:
            return None
        if place.name not in self.residues:
            self.residues[place.name] = zeros(tensor.shape, float32)
        return self.residues[place.name]


def _mark(tensors: Sequence[Tensor], steps: int) -> _Mark:
    return _Mark(steps, tuple((tensor.data_ptr(), None if tensor.is_inference() else tensor._version) for tensor in tensors))
