"""Who has which rows of a data set: ways to divide it among peers, from harmless to hard. The same seed gives the same division."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labels = NDArray[np.int64]
    Rows = list[NDArray[np.intp]]

_ATTEMPTS = 1000


def by_classes(labels: Labels, classes: Sequence[Collection[int]]) -> Rows:
    """To each peer all rows of its classes, in their order; a class that several peers have is not divided."""
    return [np.flatnonzero(np.isin(labels, list(own))) for own in classes]


def iid(labels: Labels, peers: int, seed: int) -> Rows:
    """Shuffled and cut into parts that differ by one row at most."""
    order = np.random.default_rng(seed).permutation(len(labels))
    return [np.sort(part) for part in np.array_split(order, peers)]


def dirichlet(labels: Labels, peers: int, alpha: float, seed: int, *, least: int = 4) -> Rows:
    """Each class divided in proportions drawn from Dirichlet(alpha); drawn again until each peer has `least` rows.

    Raises ValueError where a thousand draws give no such division.
    """
    rng = np.random.default_rng(seed)
    for _ in range(_ATTEMPTS):
        parts = _per_class(labels, peers, rng, lambda: rng.dirichlet(np.full(peers, alpha)))
        if min(map(len, parts)) >= least:
            return parts
    raise ValueError(
        f"{len(labels)} rows do not give {least} to each of {peers} peers at alpha {alpha}: take a larger alpha or fewer peers"
    )


def shards(labels: Labels, peers: int, seed: int, *, each: int = 2) -> Rows:
    """Sorted by label, cut into `each` shards a peer, and dealt out: with two, most peers know two classes."""
    rng = np.random.default_rng(seed)
    cut = np.array_split(np.argsort(labels, kind="stable"), peers * each)
    dealt = rng.permutation(len(cut)).reshape(peers, each)
    return [np.sort(np.concatenate([cut[shard] for shard in hand])) for hand in dealt]


def _per_class(labels: Labels, peers: int, rng: np.random.Generator, draw: Callable[[], NDArray[np.float64]]) -> Rows:
    parts: list[Rows] = [[] for _ in range(peers)]
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        ends = (np.cumsum(draw())[:-1] * len(rows)).astype(np.intp)
        for part, piece in zip(parts, np.split(rows, ends), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]
