"""Features to mean 0 and deviation 1, by rows that everybody has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import attrs
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@attrs.frozen(eq=False)
class Scaling:
    """Mean and deviation of each feature (float32, 28). One that is constant becomes 0, wherever it keeps to that."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> Self:
        """From these rows (rows x 28), at least one."""
        mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
        constant = deviation <= 1e-6 * np.abs(mean)
        return cls(mean.astype(np.float32), np.where(constant, 1.0, deviation).astype(np.float32))

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return (features - self.mean) / self.deviation
