"""What all elementwise merges share: each tensor in pieces that fit the cache, stacked in one reused scratch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from learnae.readers import PIECE as PIECE
from learnae.readers import TensorReader, overrides, reader_of
from learnae.readers import pieces as pieces

if TYPE_CHECKING:
    from learnae.records import LocalModel, Received
    from learnae.strategies import ElementwiseMerge

    Mask = NDArray[np.bool_] | None

Array = NDArray[np.float32]


def combine_all(merge: ElementwiseMerge, local: LocalModel, received: Sequence[Received]) -> Iterator[tuple[str, Array | None]]:
    """Merge one tensor after the other: floating ones by `merge.combine`, all others by maximum.

    A merged buffer is clipped to the range of the models. Each received tensor is read once. An update of weight 0 does not take part. If
    no update takes part, every tensor is unchanged (None). Raises ValueError if `weigh` or `combine` breaks its contract.
    """
    taking, weights = _taking_part(merge, local, received)
    if not taking:
        yield from ((name, None) for name in local.current)
        return
    yield from combine_rows(local, taking, _checked_combine(merge, weights), merge.CHUNK)


def combine_in_pieces(
    merge: ElementwiseMerge, local: LocalModel, received: Sequence[Received]
) -> Iterator[tuple[str, Array | TensorReader | None]]:
    """The same, but a parameter that came whole is merged piece by piece when it is read: to the same bits, and without a copy of it."""
    taking, weights = _taking_part(merge, local, received)
    if not taking:
        yield from ((name, None) for name in local.current)
        return
    combine = _combined_into(merge, weights)
    scratch = np.empty((1 + len(taking)) * min(PIECE, max((tensor.size for tensor in local.current.values()), default=0)), np.float32)
    for name, own in local.current.items():
        if np.issubdtype(own.dtype, np.floating) and name not in local.buffers and all(item.masks.get(name) is None for item in taking):
            yield name, _MergedReader(own, [reader_of(item.tensors, name) for item in taking], combine, scratch)
        else:
            kept = attrs.evolve(local, current={name: own})
            yield from combine_rows(kept, taking, _checked_combine(merge, weights), merge.CHUNK)


def combine_rows(
    local: LocalModel, taking: Sequence[Received], combine: Callable[[Array], Array], chunk: int = PIECE
) -> Iterator[tuple[str, Array]]:
    """Merge one tensor after the other: floating ones by `combine`, piece by piece, and all others by maximum.

    `combine` gets n x size, row 0 the own model, in a scratch that is used again. A merged buffer is clipped to the range of the models.
    """
    longest = max((tensor.size for tensor in local.current.values()), default=0)
    scratch = np.empty((1 + len(taking)) * min(chunk, longest), np.float32)
    for name, own in local.current.items():
        theirs = _Theirs([item.tensors[name] for item in taking], [item.masks.get(name) for item in taking])
        floating = np.issubdtype(own.dtype, np.floating)
        one = _held_between(combine) if name in local.buffers else combine
        result = _combined(own, theirs, scratch, one, chunk) if floating else _maximum(own, theirs)
        del theirs  # or the tensors of this name would live until those of the next are decoded
        yield name, result


def squared_distances(local: LocalModel, taking: Sequence[Received]) -> NDArray[np.float64]:
    """The squared Euclidean distances between all models, n x n: row 0 the own one, then the updates.

    Trained parameters count alone: neither buffers nor integers. What did not come counts as the own value.
    """
    count = 1 + len(taking)
    total = np.zeros((count, count))
    scratch, difference = np.empty(count * PIECE, np.float32), np.empty(PIECE, np.float32)
    for name, own in local.current.items():
        if name in local.buffers or not np.issubdtype(own.dtype, np.floating):
            continue
        theirs = _Theirs([item.tensors[name] for item in taking], [item.masks.get(name) for item in taking])
        for piece in pieces(own.size):
            _add_squares(_stacked(own.reshape(-1), theirs, piece, scratch), difference[: piece.stop - piece.start], total)
        del theirs
    return total + total.T


def _add_squares(rows: Array, difference: Array, total: NDArray[np.float64]) -> None:
    """Of differences, and not of products: models lie close together, far from zero."""
    for one in range(len(rows)):
        for other in range(one):
            with np.errstate(over="ignore", invalid="ignore"):
                np.subtract(rows[one], rows[other], out=difference)
                squares = float(difference @ difference)
            if not np.isfinite(squares):
                wide = rows[one].astype(np.float64) - rows[other]
                squares = float(wide @ wide)
            total[one, other] += squares


Into = Callable[[Sequence[Array], Array], None]


class _MergedReader(TensorReader):
    """What a merge makes of one tensor."""

    def __init__(self, own: Array, theirs: Sequence[TensorReader], combine: Into, scratch: Array) -> None:
        self._own, self._theirs, self._combine, self._scratch = own.reshape(-1), theirs, combine, scratch
        self.shape, self.size = own.shape, own.size

    def read(self, piece: slice, room: Array) -> Array:
        size = piece.stop - piece.start
        rooms = self._scratch[: len(self._theirs) * size].reshape(len(self._theirs), size)
        rows = [self._own[piece], *(reader.read(piece, row) for reader, row in zip(self._theirs, rooms, strict=True))]
        self._combine(rows, room)
        return room


def _combined_into(merge: ElementwiseMerge, weights: Array) -> Into:
    if overrides(type(merge), "combine_into", "combine"):
        return lambda rows, out: merge.combine_into(rows, weights, out)  # type: ignore[attr-defined]  # optional
    combine = _checked_combine(merge, weights)

    def stacked(rows: Sequence[Array], out: Array) -> None:
        out[:] = combine(np.stack(rows))

    return stacked


class _Theirs:
    """One tensor of every update that takes part, with the mask of what came of it."""

    def __init__(self, tensors: Sequence[Array], masks: Sequence[Mask]) -> None:
        self.flat = [(tensor.reshape(-1), None if mask is None else mask.reshape(-1)) for tensor, mask in zip(tensors, masks, strict=True)]


def _taking_part(merge: ElementwiseMerge, local: LocalModel, received: Sequence[Received]) -> tuple[list[Received], Array]:
    """The updates of positive weight, and the weights of the own model and of them: they sum to 1."""
    present = [item for item in received if item.weight > 0]
    claimed = np.array([1.0, *merge.weigh(local, present)], np.float64)
    if len(claimed) != 1 + len(present):
        raise ValueError(f"{type(merge).__name__}.weigh returned {len(claimed) - 1} weights for {len(present)} updates")
    relative = np.where(np.isfinite(claimed) & (claimed > 0), claimed, 0.0)
    relative /= relative.max()  # the sum of very large weights must not overflow
    taking = [item for item, weight in zip(present, relative[1:], strict=True) if weight > 0]
    kept = relative[np.concatenate([[True], relative[1:] > 0])]
    return taking, (kept / kept.sum()).astype(np.float32)


def _combined(own: Array, theirs: _Theirs, scratch: Array, combine: Callable[[Array], Array], chunk: int) -> Array:
    result = np.empty(own.size, np.float32)
    flat = own.reshape(-1)
    for piece in pieces(own.size, chunk):
        result[piece] = combine(_stacked(flat, theirs, piece, scratch))
    return result.reshape(own.shape)


def _stacked(own: Array, theirs: _Theirs, piece: slice, scratch: Array) -> Array:
    """One piece of every model, n x piece, row 0 the own; what did not come is filled with the own values."""
    size, count = piece.stop - piece.start, 1 + len(theirs.flat)
    rows = scratch[: count * size].reshape(count, size)
    rows[0] = own[piece]
    for row, (values, mask) in zip(rows[1:], theirs.flat, strict=True):
        if mask is None:
            row[:] = values[piece]
        else:
            row[:] = own[piece]
            np.copyto(row, values[piece], where=mask[piece])
    return rows


def _held_between(combine: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """For buffers: a merge that goes beyond the models does so with parameters alone."""

    def between(rows: Array) -> Array:
        low, high = rows.min(axis=0), rows.max(axis=0)
        return np.clip(combine(rows), low, high)

    return between


def _maximum(own: Array, theirs: _Theirs) -> Array:
    result = own.reshape(-1).copy()
    for values, mask in theirs.flat:
        np.maximum(result, values, out=result, where=True if mask is None else mask)
    return result.reshape(own.shape)


def _checked_combine(merge: ElementwiseMerge, weights: Array) -> Callable[[Array], Array]:
    who, call = f"{type(merge).__name__}.combine", _caller(merge, weights)

    def combine(rows: Array) -> Array:
        result = call(rows)
        if not isinstance(result, np.ndarray):
            raise ValueError(f"{who} returned {type(result).__name__}, expected one array of library {merge.library!r}")
        if result.shape != rows.shape[1:]:
            raise ValueError(f"{who} returned the shape {result.shape} for {rows.shape}, expected {rows.shape[1:]}")
        if result.dtype != np.float32:
            raise ValueError(f"{who} returned {result.dtype}, expected float32")
        if np.may_share_memory(result, rows):
            raise ValueError(f"{who} returned a view of its argument, expected an array of its own: return a copy")
        return result

    return combine


def _caller(merge: ElementwiseMerge, weights: Array) -> Callable[[Array], Any]:
    """`combine` in the library that it is written for; its weights are a copy each time, since it is called for every piece."""
    if merge.library == "numpy":
        return lambda rows: merge.combine(rows, weights.copy())
    if merge.library == "torch":
        return _torch_caller(merge, weights)
    raise ValueError(f"{type(merge).__name__}.library is {merge.library!r}, expected 'numpy' or 'torch'")


def _torch_caller(merge: ElementwiseMerge, weights: Array) -> Callable[[Array], Any]:
    import torch

    def call(rows: Array) -> Any:
        result = merge.combine(torch.from_numpy(rows), torch.from_numpy(weights.copy()))
        return result.detach().numpy() if isinstance(result, torch.Tensor) else result

    return call
