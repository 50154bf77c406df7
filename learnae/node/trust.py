"""How far a peer is trusted with fetches, by what became of those before (decision 0031). What models are worth, gates and merges say."""

from __future__ import annotations

NEWCOMER = 1 / 2
"""After the first update that was merged, and the least after any."""
GROWTH = 2
FAILING = 8
"""A failure divides by this: of who had all trust and turns, one try is lost, and seven turns pass before the next."""
LEAST = 1 / 16
LOST = 3
"""After so many failures in a row there is none left."""


def after_merge(trust: float) -> float:
    return min(1.0, max(NEWCOMER, GROWTH * trust))


def after_failure(trust: float, failures: int) -> float:
    """`failures` in a row, with this one."""
    return 0.0 if failures >= LOST or not trust else max(LEAST, trust / FAILING)
