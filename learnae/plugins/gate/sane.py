"""The first gate: refuses what cannot be merged at all, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from learnae.elementwise import pieces
from learnae.records import Judged, LocalModel, Received, State, Verdict
from learnae.strategies import Gate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array


class Sane(Gate):
    """Refuses an update with a missing tensor or one of another shape ("wrong-shape"), or with a NaN or infinity ("non-finite").

    It has no opinion on values: a bound on them would lock out peers that come back from far away.
    """

    def judge(self, local: LocalModel, received: Sequence[Received], state: State) -> Judged:
        return Judged([_verdict(local, item) for item in received])


def _verdict(local: LocalModel, item: Received) -> Verdict:
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
