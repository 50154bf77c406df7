"""Whether arrays hold only finite values, in one pass and without a copy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def finite(arrays: Iterable[NDArray[Any]]) -> bool:
    """A sum in float64 cannot overflow from finite float32 values, so it is finite if and only if all of them are."""
    with np.errstate(invalid="ignore"):  # infinity less infinity
        return all(bool(np.isfinite(np.add.reduce(array, axis=None, dtype=np.float64))) for array in arrays)
