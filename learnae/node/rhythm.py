"""How often a peer publishes, seen from what arrives here: never from its clock, nor from what it says of itself."""

from __future__ import annotations

from collections import deque
from statistics import fmean

import attrs

WINDOW = 8
UNKNOWN_SECONDS = 30.0  # for whoever was heard once: three times the usual `train.round_seconds`
LONGEST_SECONDS = 3600.0


def _window() -> deque[float]:
    return deque(maxlen=WINDOW)


@attrs.define
class Rhythm:
    """The seconds between the last updates of one peer."""

    _last: float | None = None
    _gaps: deque[float] = attrs.field(factory=_window)

    def heard(self, now: float) -> None:
        if self._last is not None:
            self._gaps.append(now - self._last)
        self._last = now

    @property
    def seconds(self) -> float:
        """The typical time between two updates; 0 while that is unknown."""
        return fmean(self._gaps) if self._gaps else 0.0

    def patience_seconds(self, rounds: int, unknown: float) -> float:
        """How long to wait for the next one: so many of its rounds, and twice its longest pause, since media may bring several at once."""
        if not self._gaps:
            return unknown
        return min(LONGEST_SECONDS, max(rounds * self.seconds, 2 * max(self._gaps)))
