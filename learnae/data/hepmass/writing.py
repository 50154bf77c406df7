"""Synthetic data as a file in the format of the published one."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from learnae.data.hepmass.columns import HEADER
from learnae.data.hepmass.generator import blocks_of

MIDDLE_MASS, MASS_DEVIATION = 1000.0, 250 * np.sqrt(2)  # GeV: of the five masses 500, 750, ... 1500


def write_like_published(path: Path, rows: int, seed: int) -> None:
    """A CSV file of synthetic rows, compressed if its name ends with .gz. Its header says that it is synthetic.

    The file appears when it is whole. Raises OSError.
    """
    part = path.with_name(f"{path.name}.part")
    with gzip.open(part, "wb", compresslevel=1) if path.suffix == ".gz" else part.open("wb") as file:
        file.write(f"{HEADER} # SYNTHETIC: made by learnae.data.hepmass with seed {seed}, no physics in it\n".encode())
        for features, labels in blocks_of(rows, seed):
            block = np.column_stack([labels, features]).astype(np.float64)
            block[:, -1] = MIDDLE_MASS + MASS_DEVIATION * block[:, -1]
            np.savetxt(file, block, fmt="%.18e", delimiter=",")
    part.replace(path)
