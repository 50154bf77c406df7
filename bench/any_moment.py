"""Peers that are looked at every few steps, for `comparison.py`: what the trained and the merged model have between two merges."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import attrs
import numpy as np
from tables import show

ROWS = 8
"""So many moments of the course are shown."""


@attrs.frozen
class Course:
    """Accuracies of one peer: right after each of its merges, and at each look those of the model that is trained and of the merged one."""

    after_merges: Sequence[float]
    trained: Sequence[float]
    merged: Sequence[float]


Crew = Sequence[Course]
"""The peers of one run."""


def show_courses(runs: Mapping[str, Sequence[Crew]], look_steps: int) -> None:
    """`runs`: of each way one crew for each seed. Only the second half counts in the first table: before it all is still rising."""
    rows = [(f"{way}, {which}", *_cells(crews, which)) for way, crews in runs.items() for which in ("merged", "trained")]
    header = ("second half of the training", "after its merges", "at any moment", "the lowest moment", "points below")
    show("At any moment, means of all seeds", header, rows)
    ways = [(f"{way}, {which}", _means(crews, which)) for way, crews in runs.items() for which in ("merged", "trained")]
    looks = min(len(course) for _, course in ways)
    moments = sorted({round(looks * part / ROWS) - 1 for part in range(1, ROWS + 1)} - {-1})
    names = ("", *(f"{look_steps * (moment + 1)}" for moment in moments))
    show("In the course, by steps", names, [(name, *(f"{course[moment]:.4f}" for moment in moments)) for name, course in ways])


def _cells(crews: Sequence[Crew], which: str) -> tuple[str, ...]:
    after = statistics.fmean(statistics.fmean(one.after_merges[len(one.after_merges) // 2 :]) for crew in crews for one in crew)
    second = [_of(crew, which)[len(_of(crew, which)) // 2 :] for crew in crews]
    mean, lowest = (statistics.fmean(choose(half) for half in second) for choose in (np.mean, np.min))
    return (f"{after:.4f}", f"{mean:.4f}", f"{lowest:.4f}", f"{100 * (after - lowest):.1f}")


def _means(crews: Sequence[Crew], which: str) -> np.ndarray:
    """At each look, of all peers of all seeds."""
    shortest = min(len(_of(crew, which)) for crew in crews)
    return np.mean([_of(crew, which)[:shortest] for crew in crews], axis=0)


def _of(crew: Crew, which: str) -> np.ndarray:
    """At each look, the mean of the peers."""
    return np.mean([getattr(one, which) for one in crew], axis=0)
