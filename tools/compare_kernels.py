"""Whether the compiled kernels give the bits of numpy's, on random pieces: `python tools/compare_kernels.py [--pieces 1000000] [--seed 0]`.

Pieces of all lengths, with NaN, infinities, subnormals, zeros of both signs and the largest values. Two NaN count as equal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from learnae import numpy_kernels

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -3e-42, 1.1754944e-38, 3.4028235e38, -3.4028235e38, 1.0], np.float32)
LONGEST = 1 << 16
Array = Any


def values(rng: np.random.Generator, count: int) -> Array:
    """Of one magnitude or of all; a third of the pieces has special ones among them."""
    plain = rng.standard_normal(count, np.float32) * np.float32(10.0 ** rng.integers(-44, 38))
    if rng.random() < 0.2:
        plain = rng.integers(0, 1 << 32, count, np.uint32).view(np.float32)
    if rng.random() < 0.3 and count:
        places = rng.integers(0, count, 1 + count // 50)
        plain[places] = rng.choice(SPECIAL, places.size)
    return plain


def results(kernels: ModuleType, seed: Any, count: int) -> list[Array]:
    """All that the kernels make of one random piece."""
    rng = np.random.default_rng(seed)
    own, one, other = (values(rng, count) for _ in range(3))
    blocks = -(-count // numpy_kernels.BLOCK)
    largest, levels, decoded, moved = np.empty(blocks), np.empty(count, np.int8), np.empty(count, np.float32), np.empty(count, np.float32)
    kernels.largest(own, largest)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        scales = (
            (largest / numpy_kernels.LEVELS).astype(np.float16).astype(np.float32) if rng.random() < 0.5 else np.abs(values(rng, blocks))
        )
    sound = np.where(np.isnan(own), np.float32(0), own)  # of a block with a NaN the scale is one too: this never comes
    kernels.quantise(sound, scales, levels)
    kernels.dequantise(rng.integers(-128, 128, count).astype(np.int8), scales, decoded)
    weights = rng.random(2, np.float32)
    finite = kernels.moved(own, [one, other], weights, moved)
    stepped, changed = one.copy(), np.empty(count, np.float32)
    kernels.step(own, stepped, other, changed, 0.9, 0.7, bool(rng.random() < 0.5))
    told = np.array([kernels.squares(own), kernels.squared_distance(own, one), finite, kernels.is_finite(own)])
    return [largest, levels, decoded, moved, stepped, changed, told]


def same(one: Array, other: Array) -> bool:
    if one.dtype == np.int8:
        return bool((one == other).all())
    word = np.uint32 if one.dtype == np.float32 else np.uint64
    return bool(((one.view(word) == other.view(word)) | (np.isnan(one) & np.isnan(other))).all())


def length(rng: np.random.Generator) -> int:
    """Most are short, so that there can be many."""
    return int(rng.integers(0, 200)) if rng.random() < 0.99 else int(rng.integers(0, LONGEST + 1))


def compare(compiled: ModuleType, pieces: int, seed: int, say: Callable[[str], None] = print) -> int:
    """How many pieces differ."""
    rng, wrong = np.random.default_rng(seed), 0
    for piece in range(pieces):
        count = length(rng)
        ours, theirs = results(numpy_kernels, [seed, piece], count), results(compiled, [seed, piece], count)
        if not all(map(same, ours, theirs)):
            wrong += 1
            which = [place for place, pair in enumerate(zip(ours, theirs, strict=True)) if not same(*pair)]
            say(f"piece {piece} of {count} values differs in {which}")
    return wrong


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--pieces", type=int, default=1_000_000)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    try:
        import learnae_kernels
    except ImportError:
        print("there are no compiled kernels in this environment: install kernels/ with cargo at hand, or type `make setup`")
        return 1
    wrong = compare(learnae_kernels, chosen.pieces, chosen.seed)
    print(f"{chosen.pieces} pieces, {wrong} of them differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
