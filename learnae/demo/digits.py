"""The handwritten digits that come with scikit-learn: nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from learnae.errors import ConfigError, Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLASSES = 10
FEATURES = 64


@attrs.frozen(eq=False)
class Digits:
    """1,437 images to learn from and 360 to be tested with: rows of 64 values from 0 to 1 (float32), and labels 0 to 9 (int64)."""

    train_x: NDArray[np.float32]
    train_y: NDArray[np.int64]
    test_x: NDArray[np.float32]
    test_y: NDArray[np.int64]


def load() -> Digits:
    """The same split in every process, each class with the same share of both parts. Raises ConfigError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ConfigError(Problem("digits", "needs scikit-learn, which is not installed", 'pip install "learnae[demo]"')) from error
    images, labels = load_digits(return_X_y=True)
    images, labels = (images / 16).astype("float32"), labels.astype("int64")
    train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels)
    return Digits(train_x, train_y, test_x, test_y)
