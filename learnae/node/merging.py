"""Runs the merge strategy, then the outer one, and writes the result to a page, tensor by tensor. It checks what strategies return."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from learnae.elementwise import PIECE, combine_in_pieces, pieces
from learnae.kernels import is_finite
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.node.strategy_state import checked_state
from learnae.node.tensors import finite, is_mixed, is_trained
from learnae.readers import TensorReader, overrides, read_into
from learnae.records import LocalModel, Merged, Received, State, TensorSpec
from learnae.strategies import ElementwiseMerge, Merge, Outer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array


UNIT = 1e-3  # so far from 1 the length of a vector may be that was once normalised
EXACT = 1e-5  # what rounding makes of it
SHORTEST = 0.5  # below it the vectors that were merged point to different sides, and the direction of their average means nothing


def keep_length(merged: Array, own: Array, theirs: Iterable[Array]) -> None:
    """Scale the vectors of a merged buffer to length 1, in place, if the own buffer and all others consist of unit vectors.

    The vectors lie along the first or the last dimension. One buffer alone does not tell, because it may look so by chance: variances of
    0.6 and 0.8, or a covariance that is still the identity.
    """
    axis = _axis_of_unit_vectors(own)
    if axis is None or not all(_are_unit(vectors, axis) for vectors in theirs):
        return
    lengths = _lengths(merged, axis)
    kept = np.broadcast_to(lengths < SHORTEST, merged.shape)
    np.divide(
        merged,
        lengths,
        out=merged,
        casting="same_kind",
        where=np.broadcast_to((lengths >= SHORTEST) & (abs(lengths - 1) > EXACT), merged.shape),
    )
    np.copyto(merged, own, where=kept)


def _axis_of_unit_vectors(own: Array) -> int | None:
    for axis in dict.fromkeys((own.ndim - 1, 0)) if own.ndim and own.size else ():
        if own.shape[axis] > 1 and _are_unit(_first(own, axis), axis) and _are_unit(own, axis):
            return None if _is_choice(own) else axis
    return None


def _first(own: Array, axis: int) -> Array:
    """The first vector alone: it tells of most buffers that they consist of others."""
    return own[tuple(slice(None) if dimension == axis else slice(1) for dimension in range(own.ndim))]


def _is_choice(own: Array) -> bool:
    """Ones among zeros say which, and sum to 1 rather than have a length of 1."""
    return bool(((own == 0) | (own == 1)).all())


def _are_unit(vectors: Array, axis: int) -> bool:
    return bool((abs(_lengths(vectors, axis) - 1) < UNIT).all())


def _lengths(vectors: Array, axis: int) -> NDArray[np.float64]:
    """Summed in float64 without a copy of all in float64; the dimension stays, with a length of 1."""
    along = np.moveaxis(vectors, axis, -1)
    squares: NDArray[np.float64] = np.asarray(np.einsum("...i,...i->...", along, along, dtype=np.float64))
    return np.sqrt(np.expand_dims(squares, axis))


Pairs = Iterable[tuple[str, "Array | TensorReader | None"]]


@attrs.define
class ModelWriter:
    """Fills one page, each tensor once. Raises ValueError if a strategy returns what it must not return."""

    local: LocalModel
    accepted: Sequence[Received]
    specs: Mapping[str, TensorSpec]
    page: Mapping[str, Array]
    reading: Callable[[], AbstractContextManager[object]] = nullcontext
    """Around reading a tensor piece by piece: whose call that is."""
    _missing: set[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._missing = set(self.page)

    def write(self, tensors: Pairs) -> None:
        for name, tensor in tensors:
            self._write(name, tensor)

    def takes(self, name: str, tensor: Array | TensorReader | None) -> bool:
        """What an outer optimiser must not step over goes into the page as it is merged."""
        if name not in self.specs or is_trained(self.specs[name]):
            return False
        self._write(name, tensor)
        return True

    def check_complete(self) -> None:
        if self._missing:
            raise ValueError(f"{len(self._missing)} tensors did not come, {min(self._missing)!r} among them")

    def _write(self, name: str, tensor: Array | TensorReader | None) -> None:
        if name not in self._missing:
            raise ValueError(f"tensor {name!r} came twice, or was never asked for")
        self._missing.discard(name)
        target, own = self.page[name], self.local.current[name]
        if tensor is None:
            np.copyto(target, own)
            return
        if isinstance(tensor, TensorReader):
            self._write_pieces(name, tensor, target)
            return
        _check(name, tensor, target)
        if name in self.specs and not is_mixed(self.specs[name]):
            np.copyto(target, own)
            return
        _copy_finite(name, tensor, target)
        if name in self.specs and self.specs[name].floating and self.specs[name].buffer:
            self._hold(name, target, own)

    def _write_pieces(self, name: str, reader: TensorReader, target: Array) -> None:
        """A parameter, made where it belongs; each piece is looked at while it is in the cache."""
        room = target.reshape(-1)
        with self.reading():
            sound = True
            for piece in pieces(room.size):
                read_into(reader, piece, room[piece])
                sound = sound and is_finite(room[piece])
        if not sound:
            raise ValueError(f"tensor {name!r} holds values that are not finite")
        if name in self.specs and not is_mixed(self.specs[name]):  # read all the same: an outer step remembers it
            np.copyto(target, self.local.current[name])

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
    """Copy in pieces, so that each value is read from memory once. Raises ValueError for values that are not finite."""
    values, room = tensor.reshape(-1), target.reshape(-1)
    for piece in pieces(values.size):
        if not finite([values[piece]]):
            raise ValueError(f"tensor {name!r} holds values that are not finite")
        room[piece] = values[piece]


def _hold_between(merged: Array, own: Array, theirs: Sequence[tuple[Array, NDArray[np.bool_] | None]]) -> None:
    """Clip a merged buffer, in place, to the range between the smallest and the largest value that was merged.

    So no merge can make a running variance that no peer has. If the own buffer has no negative value, negative values of others do not
    count: neither they nor a zero in their place can be a variance. (The variance of a dead channel is zero.)
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


@attrs.frozen
class Merger:
    """Merges the own model with the accepted updates. Raises PluginError if a strategy fails or returns nonsense.

    The page is worthless then. The own model is untouched.
    """

    merge: ConfiguredStrategy[Merge]
    outer: ConfiguredStrategy[Outer] | None
    specs: Mapping[str, TensorSpec]

    def run(
        self, local: LocalModel, accepted: Sequence[Received], page: Mapping[str, Array], states: Mapping[str, State]
    ) -> dict[str, State]:
        """Fill the page with the merged model. Returns the new states of the strategies."""
        changed: dict[str, State | None] = {}
        with self.merge.calling(self._merging):
            merged = _checked(self._merged(local, accepted, states.get("merge", {})))
        tensors, changed["merge"] = _drawn(self.merge, self._merging, merged.tensors), merged.state
        writer = ModelWriter(local, accepted, self.specs, page, lambda: self.merge.calling(self._merging))
        if self.outer is not None:
            changed["outer"] = self._step(self.outer, local, accepted, tensors, states.get("outer", {}), writer)
        else:
            with self.merge.calling(self._merging, within=math.inf):
                writer.write(tensors)
                writer.check_complete()
        return {name: state for name, state in changed.items() if state is not None}

    def _merged(self, local: LocalModel, accepted: Sequence[Received], state: State) -> Merged:
        """In pieces where that comes to the same."""
        merge = self.merge.strategy
        if isinstance(merge, ElementwiseMerge) and type(merge).merge is ElementwiseMerge.merge and merge.CHUNK == PIECE:
            return Merged(combine_in_pieces(merge, local, accepted))
        return merge.merge(local, accepted, state)

    def _step(
        self,
        outer: ConfiguredStrategy[Outer],
        local: LocalModel,
        accepted: Sequence[Received],
        merged: Iterator[tuple[str, Any]],
        state: State,
        writer: ModelWriter,
    ) -> State | None:
        """Take the outer step over parameters. Buffers and integers are written as they were merged. Returns the new state."""
        names = [name for name in local.current if name not in self.specs or is_trained(self.specs[name])]
        shown = attrs.evolve(local, start=_only(names, local.start), current=_only(names, local.current), buffers=())
        masks = dict(_union_of_masks(names, accepted))
        parameters = self._parameters(merged, writer, readers=overrides(type(outer.strategy), "takes_readers", "step"))
        with outer.calling(self._stepping):
            stepped = _checked(outer.strategy.step(shown, parameters, masks, state))
        with outer.calling(self._stepping, within=math.inf):
            writer.write(_drawn(outer, self._stepping, stepped.tensors))
            for _ in parameters:  # what lies behind the last one that it asked for
                pass
            writer.check_complete()
        return stepped.state

    def _parameters(self, merged: Iterator[tuple[str, Any]], writer: ModelWriter, *, readers: bool) -> Iterator[tuple[str, Any]]:
        for name, tensor in merged:
            with self.merge.calling(self._merging):  # it is the merge's fault if this cannot be written
                taken = writer.takes(name, tensor)
                if not taken and not readers and isinstance(tensor, TensorReader):
                    tensor = tensor.whole()
            if not taken:
                yield name, tensor

    @property
    def _merging(self) -> str:
        return f"merging by {self.merge.name!r}"

    @property
    def _stepping(self) -> str:
        return f"taking the outer step by {self.outer.name!r}" if self.outer else ""


def _drawn(
    strategy: ConfiguredStrategy[Merge] | ConfiguredStrategy[Outer], action: str, tensors: Iterable[tuple[str, Array | None]]
) -> Iterator[tuple[str, Array | None]]:
    """A call for each tensor: it is this strategy's whoever asks for it, and a large model may take long as long as something comes."""
    with strategy.calling(action):
        remaining = iter(tensors)
    while True:
        with strategy.calling(action):
            item = next(remaining, None)
        if item is None:
            return
        yield item


def _checked(merged: Any) -> Merged:
    if not isinstance(merged, Merged):
        raise TypeError(f"expected a Merged, got {type(merged).__name__}")
    checked_state(merged.state)
    return merged


def _only(names: Iterable[str], tensors: Mapping[str, Array]) -> Mapping[str, Array]:
    return {name: tensors[name] for name in names}


def _union_of_masks(names: Iterable[str], accepted: Sequence[Received]) -> Iterator[tuple[str, Any]]:
    """The coordinates that came from at least one update, for tensors that came whole from none."""
    for name in sorted({name for item in accepted for name in item.masks}.intersection(names)):
        masks = [item.masks[name] for item in accepted if name in item.masks]
        if len(masks) == len(accepted):
            yield name, np.logical_or.reduce(masks)
