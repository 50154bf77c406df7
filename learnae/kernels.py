"""The inner loops of a round, each over one piece of a tensor: compiled ones if `learnae-kernels` is installed, else those of numpy.

Both give the same bits. What each does stands in `learnae.numpy_kernels`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from learnae.numpy_kernels import BLOCK, LANES, LEVELS

COMPILED = False
"""Whether the compiled ones are used."""

if not TYPE_CHECKING:
    try:
        from learnae_kernels import dequantise, is_finite, largest, moved, quantise, squared_distance, squares, step

        COMPILED = True
    except ImportError:  # nobody has built it for this environment: it is optional
        pass

if TYPE_CHECKING or not COMPILED:
    from learnae.numpy_kernels import dequantise, is_finite, largest, moved, quantise, squared_distance, squares, step


def in_words() -> str:
    """For `learnae check`."""
    if COMPILED:
        return "the inner loops of a round: compiled ones, of learnae-kernels"
    return "the inner loops of a round: numpy's; learnae-kernels, which is not installed, has the same compiled"


__all__ = [
    "BLOCK",
    "COMPILED",
    "LANES",
    "LEVELS",
    "dequantise",
    "in_words",
    "is_finite",
    "largest",
    "moved",
    "quantise",
    "squared_distance",
    "squares",
    "step",
]
