"""Writes a merged model into its page; nothing that a strategy made is believed, and what is not a parameter is held within bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from learnae.elementwise import pieces
from learnae.node.finite import finite
from learnae.node.kinds import is_mixed, is_trained
from learnae.node.lengths import keep_length
from learnae.records import LocalModel, Received, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array

Pairs = Iterable[tuple[str, "Array | None"]]


@attrs.define
class Writer:
    """Fills one page, each tensor once. Raises ValueError for what a strategy may not return."""

    local: LocalModel
    accepted: Sequence[Received]
    specs: Mapping[str, TensorSpec]
    page: Mapping[str, Array]
    _missing: set[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._missing = set(self.page)

    def write(self, tensors: Pairs) -> None:
        for name, tensor in tensors:
            self._write(name, tensor)

    def takes(self, name: str, tensor: Array | None) -> bool:
        """What an outer optimiser must not step over goes into the page as it is merged."""
        if name not in self.specs or is_trained(self.specs[name]):
            return False
        self._write(name, tensor)
        return True

    def check_complete(self) -> None:
        if self._missing:
            raise ValueError(f"{len(self._missing)} tensors did not come, {min(self._missing)!r} among them")

    def _write(self, name: str, tensor: Array | None) -> None:
        if name not in self._missing:
            raise ValueError(f"tensor {name!r} came twice, or was never asked for")
        self._missing.discard(name)
        target, own = self.page[name], self.local.current[name]
        if tensor is None:
            np.copyto(target, own)
            return
        _check(name, tensor, target)
        if name in self.specs and not is_mixed(self.specs[name]):
            np.copyto(target, own)
            return
        _copy_finite(name, tensor, target)
        if name in self.specs and self.specs[name].floating and self.specs[name].buffer:
            self._hold(name, target, own)

    def _hold(self, name: str, target: Array, own: Array) -> None:
        theirs = [(item.tensors[name], item.masks.get(name)) for item in self.accepted]
        _hold_between(target, own, theirs)
        if all(mask is None for _, mask in theirs):  # of a vector that came in part nobody knows the length
            keep_length(target, own, [values for values, _ in theirs])


def _check(name: str, tensor: Any, target: Array) -> None:
    if not isinstance(tensor, np.ndarray) or tensor.shape != target.shape or tensor.dtype != target.dtype:
        got = f"{getattr(tensor, 'dtype', type(tensor).__name__)} {getattr(tensor, 'shape', '')}"
        raise ValueError(f"tensor {name!r} must be a {target.dtype} array of shape {target.shape}, not {got}")


def _copy_finite(name: str, tensor: Array, target: Array) -> None:
    """In pieces, so that each value is read from memory once."""
    values, room = tensor.reshape(-1), target.reshape(-1)
    for piece in pieces(values.size):
        if not finite([values[piece]]):
            raise ValueError(f"tensor {name!r} holds values that are not finite")
        room[piece] = values[piece]


def _hold_between(merged: Array, own: Array, theirs: Sequence[tuple[Array, NDArray[np.bool_] | None]]) -> None:
    """Within the smallest and the largest of what was merged, in place.

    So no merge, whatever it does with parameters, makes a running variance that no peer has. Where nothing in the own buffer is negative
    (a dead channel's variance is zero), what is negative in others does not count: neither it nor a zero in its place is a variance.
    """
    if not own.size:
        return
    positive = own.min() >= 0 and own.max() > 0
    room, mine = merged.reshape(-1), own.reshape(-1)
    flat = [(values.reshape(-1), None if mask is None else mask.reshape(-1)) for values, mask in theirs]
    for piece in pieces(room.size):
        low, high = mine[piece].copy(), mine[piece].copy()
        for values, mask in flat:
            counts: Any = True if mask is None else mask[piece]
            if positive:
                counts = counts & (values[piece] >= 0)
            np.minimum(low, values[piece], out=low, where=counts)
            np.maximum(high, values[piece], out=high, where=counts)
        np.clip(room[piece], low, high, out=room[piece])
