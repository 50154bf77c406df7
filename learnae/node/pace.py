"""How long things take here: rounds and transfers, learned from the last 20 of them."""

from __future__ import annotations

from collections import deque
from statistics import median, quantiles

import attrs

WINDOW = 20
SLACK = 1.5
LEAST_SECONDS = 0.25  # below this a deadline would measure the scheduler, not the network


def _window() -> deque[float]:
    return deque(maxlen=WINDOW)


@attrs.define
class Pace:
    """`first_seconds` is the deadline of a fetch before anything was measured."""

    first_seconds: float
    _rounds: deque[float] = attrs.field(factory=_window)
    _per_byte: deque[float] = attrs.field(factory=_window)
    slowest_seconds: float = 0.0

    def round_took(self, seconds: float) -> None:
        self._rounds.append(seconds)

    def transfer_took(self, seconds: float, size: int) -> None:
        """Also for a transfer that was cut off: with what had come by then, so that the next deadline follows a slow line."""
        self._per_byte.append(seconds / max(size, 1))
        self.slowest_seconds = max(self.slowest_seconds, seconds)

    @property
    def round_seconds(self) -> float | None:
        """The typical round: the median; None before the first."""
        return median(self._rounds) if self._rounds else None

    def deadline_seconds(self, size: int) -> float:
        """1.5 times the 90th percentile of the last 20 transfers, for this many bytes."""
        if not self._per_byte:
            return self.first_seconds
        slow = quantiles(self._per_byte, n=10)[-1] if len(self._per_byte) > 1 else self._per_byte[0]
        return max(LEAST_SECONDS, SLACK * min(slow, max(self._per_byte)) * size)
