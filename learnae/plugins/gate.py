"""The gates: `sane` refuses updates that cannot be merged at all, `clip` limits how far one update can move the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from attrs.validators import ge

from learnae import kernels
from learnae.config.tables import option
from learnae.elementwise import PIECE, pieces
from learnae.readers import ReadableModel, reader_of
from learnae.records import Judged, LocalModel, Received, State, Verdict
from learnae.strategies import Gate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array

    Masks = Mapping[str, NDArray[np.bool_]]


SURE = 1e-30
"""Below this (and at infinity) a float32 sum of squares may have lost what matters, and is made again in float64."""


def length(model: Mapping[str, Array]) -> float:
    """The Euclidean norm of all floating values; not finite if a value is not."""
    known = model.measured(None) if isinstance(model, ReadableModel) else None
    if known is None:
        parts = (tensor.reshape(-1)[piece] for tensor in model.values() if _floating(tensor) for piece in pieces(tensor.size))
        known = _noted(model, None, math.sqrt(sum(map(_squares, parts))))
    return known


def distance(own: Mapping[str, Array], other: Mapping[str, Array], masks: Masks | None = None) -> float:
    """The Euclidean norm of `other - own` where `masks` says that it came. Not finite if a value is not.

    Models of a round remember it: several gates ask for the same.
    """
    known = other.measured(own) if isinstance(other, ReadableModel) else None
    if known is None:
        came: Masks = {} if masks is None else masks
        parts = (_distance(tensor, other, name, came.get(name)) for name, tensor in own.items() if _floating(tensor))
        known = _noted(other, own, math.sqrt(sum(parts)))
    return known


def _noted(model: Mapping[str, Array], beside: object, norm: float) -> float:
    return model.note(beside, norm) if isinstance(model, ReadableModel) else norm


def _distance(own: Array, other: Mapping[str, Array], name: str, mask: NDArray[np.bool_] | None) -> float:
    own, reader, total = own.reshape(-1), reader_of(other, name), 0.0
    came, room = None if mask is None else mask.reshape(-1), np.empty(min(PIECE, own.size), np.float32)
    for piece in pieces(own.size):
        theirs = reader.read(piece, room[: piece.stop - piece.start])
        if came is not None:
            theirs = np.where(came[piece], theirs, own[piece])
        total += _squared_distance(own[piece], theirs)
    return total


def _squares(part: Array) -> float:
    """In float32 within a piece (relative error 1e-5, several times the speed), in float64 between pieces."""
    total = kernels.squares(part)
    return total if SURE < total < math.inf else _wide_squares(part)


def _squared_distance(own: Array, theirs: Array) -> float:
    total = kernels.squared_distance(own, theirs)
    if SURE < total < math.inf:
        return total
    with np.errstate(over="ignore", invalid="ignore"):
        return _wide_squares(theirs - own)


def _wide_squares(part: Array) -> float:
    wide = part.astype(np.float64)
    return float(wide @ wide)


def _floating(tensor: Array) -> bool:
    return np.issubdtype(tensor.dtype, np.floating)


REMEMBERED = 20
FIRST_SHARE = 0.05
MOST = 20.0  # own paces: ten times what honest peers are apart, and what lets the two sides of a partition find together
PACE_ROUNDS = 10


@attrs.frozen(kw_only=True)
class ClipOptions:
    """How far an update may move the model."""

    factor: float = option(
        2.0, "The limit, in units of the median displacement lately accepted; below 1 it would shrink for ever.", ge(1.0)
    )


class Clip(Gate):
    """Scales the displacement of an update (from the own `current`) down to a limit. Refuses no update.

    The limit is the larger one of these two:

    - `factor` times the lower median norm of the last 20 accepted displacements. Each is remembered with at most the limit of its time.
      So a peer that comes back from far away comes nearer in bounded steps, and if many are far away, the median grows. It is the lower
      median, so that a liar who sends half of what is fetched does not raise it;
    - the own displacement since the last merge. No peer can lie about it. So a flood of tiny updates cannot shrink the limit for good, and
      within this limit others undo at most what the own training did.

    It is never more than 20 times the own pace, a running mean of the own displacements. Else two liars, if these are all that is fetched,
    would double it again and again. A peer that does not train has no pace, and no such bound.

    In its first round a peer has neither. Then the limit is the lowest norm of this round, so that a liar beside an honest peer gains
    nothing. It is also at most 5 % of the norm of the own model, so that a liar alone gains little. The same holds after a time in which
    nothing moved, because a limit of zero would last for ever.
    """

    Options = ClipOptions
    options: ClipOptions

    def judge(self, local: LocalModel, received: Sequence[Received], state: State) -> Judged:
        norms = [distance(local.current, item.tensors, item.masks) if item.weight > 0 else None for item in received]
        history, pace = np.asarray(state.get("norms", ()), np.float64), float(state.get("pace", 0.0))
        moved = [norm for norm in norms if norm is not None and math.isfinite(norm)]
        if not moved:
            return Judged([_verdict(norm, math.inf) for norm in norms])
        limit = self.options.factor * _lower_median(history)
        if max(moved) > min(limit, MOST * pace):  # else, as usual, the two own models need not be read
            own = distance(local.start, local.current)
            if math.isfinite(own):
                pace = pace + (own - pace) / PACE_ROUNDS if pace and own else pace or own
            limit = min(max(limit, own) or _first(local, moved), max(MOST * pace, own) or math.inf)
        return Judged([_verdict(norm, limit) for norm in norms], {**_remember(history, moved, limit), "pace": pace})


def _first(local: LocalModel, moved: Sequence[float]) -> float:
    lowest, share = min(norm for norm in moved if norm > 0), FIRST_SHARE * length(local.current)
    return min(lowest, share) if share else lowest


def _lower_median(norms: NDArray[np.float64]) -> float:
    return float(np.sort(norms)[(norms.size - 1) // 2]) if norms.size else 0.0


def _remember(history: NDArray[np.float64], moved: Sequence[float], limit: float) -> dict[str, Any]:
    return {"norms": np.append(history, np.minimum(moved, limit))[-REMEMBERED:]}


def _verdict(norm: float | None, limit: float) -> Verdict:
    if norm is None:
        return Verdict(weight=0.0, reason="refused before")
    if not math.isfinite(norm):
        return Verdict(weight=0.0, reason="non-finite")
    if norm <= limit:
        return Verdict(reason=f"norm {norm:.4g} within the limit {limit:.4g}")
    return Verdict(scale=limit / norm, reason=f"norm {norm:.4g} scaled down to the limit {limit:.4g}")


class Sane(Gate):
    """Refuses an update with a missing tensor or one of another shape ("wrong-shape"), or with a NaN or infinity ("non-finite").

    It does not limit values, because that would lock out peers that come back from far away.
    """

    def judge(self, local: LocalModel, received: Sequence[Received], state: State) -> Judged:
        return Judged([_judge_values(local, item) for item in received])


def _judge_values(local: LocalModel, item: Received) -> Verdict:
    for name, own in local.current.items():
        if name in item.sound:
            continue
        theirs = item.tensors.get(name)
        if theirs is None or theirs.shape != own.shape:
            return Verdict(weight=0.0, reason="wrong-shape")
        if not _finite(theirs, item.masks.get(name)):
            return Verdict(weight=0.0, reason="non-finite")
    return Verdict()


def _finite(tensor: Array, mask: NDArray[np.bool_] | None) -> bool:
    """Whether every value that came is finite; what did not come may be anything."""
    if not np.issubdtype(tensor.dtype, np.floating):
        return True
    values, came = tensor.reshape(-1), None if mask is None else mask.reshape(-1)
    return all(np.isfinite(values[piece]).all(where=True if came is None else came[piece]) for piece in pieces(values.size))
