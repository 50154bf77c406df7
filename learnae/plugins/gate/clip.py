"""The second gate: nobody moves the model much further than others lately did."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from attrs.validators import ge

from learnae.config.tables import key
from learnae.plugins.gate.norms import distance, length
from learnae.records import Judged, LocalModel, Received, State, Verdict
from learnae.strategies import Gate

if TYPE_CHECKING:
    from numpy.typing import NDArray

REMEMBERED = 20
FIRST_SHARE = 0.05


@attrs.frozen(kw_only=True)
class ClipOptions:
    """How far an update may move the model."""

    factor: float = key(2.0, "The limit, in units of the median displacement lately accepted; below 1 it would shrink for ever.", ge(1.0))


class Clip(Gate):
    """Scales the displacement of an update (its way from the own `current`) down to a limit; refuses none.

    The limit is the larger of two:

    - `factor` times the (lower) median norm of the last 20 accepted displacements, each remembered at no more than the limit it
      met. One that comes back from far away is merged again and again, a bounded step each time, and where many are far away the
      median grows with them. The lower median, so that a liar who is half of what is fetched does not raise it;
    - the own displacement since the last merge. No peer can lie about it, so no flood of tiny updates shrinks the limit for good,
      and within it others undo no more than the own training did.

    The first round of a fresh peer has neither. Then the lowest norm of the round stands in, so that a liar beside an honest peer
    gains nothing, but at most 5 % of the norm of the own model, so that a liar alone gains little. The same holds after a time
    in which nothing moved anybody: a limit of zero would be a lock.
    """

    Options = ClipOptions
    options: ClipOptions

    def judge(self, local: LocalModel, received: Sequence[Received], state: State) -> Judged:
        norms = [distance(local.current, item.tensors, item.masks) if item.weight > 0 else None for item in received]
        history = np.asarray(state.get("norms", ()), np.float64)
        moved = [norm for norm in norms if norm is not None and math.isfinite(norm)]
        if not moved:
            return Judged([_verdict(norm, math.inf) for norm in norms])
        limit = self._limit(local, moved, history)
        return Judged([_verdict(norm, limit) for norm in norms], _remember(history, moved, limit))

    def _limit(self, local: LocalModel, moved: Sequence[float], history: NDArray[np.float64]) -> float:
        limit = self.options.factor * _lower_median(history)
        if max(moved) <= limit:
            return limit  # the usual case: the two own models need not be read
        return max(limit, distance(local.start, local.current)) or _first(local, moved)


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
