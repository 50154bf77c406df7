"""What a row of HEPMASS holds: the label (1: signal, 0: background), 27 measured features and the mass, in GeV."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = tuple[NDArray[np.float32], NDArray[np.float32]]  # features (rows x 28), labels (rows)

MEASURED = 27
FEATURES = MEASURED + 1  # with the mass
HEADER = "# " + ",".join(("label", *(f"f{number}" for number in range(MEASURED)), "mass"))
