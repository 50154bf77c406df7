"""How long things take here: rounds and transfers, learned from the last 20 of them."""

from __future__ import annotations

from collections import deque
from statistics import median, quantiles

import attrs

WINDOW = 20
SLACK = 1.5
LEAST_SECONDS = 0.25  # below this a deadline would measure the scheduler, not the network
GRACE = 0.05  # the share of a typical round for which it waits for those that were never accepted
MOST = 10  # times the first deadline: whoever has a slower line raises `fetch_seconds`


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
        """Of a whole update: what little came of a broken one says nothing about the line."""
        self._per_byte.append(seconds / max(size, 1))
        self.slowest_seconds = max(self.slowest_seconds, seconds)

    @property
    def retention_seconds(self) -> float:
        """For so long others may still be fetching what was announced: twice what the first deadline allows, or the slowest fetch took."""
        return 2 * max(self.first_seconds, self.slowest_seconds)

    @property
    def round_seconds(self) -> float | None:
        """The typical round: the median; None before the first."""
        return median(self._rounds) if self._rounds else None

    @property
    def grace_seconds(self) -> float:
        """So long a round waits for strangers."""
        return GRACE * self.round_seconds if self.round_seconds is not None else LEAST_SECONDS

    def deadline_seconds(self, size: int, bytes_per_second: float | None = None) -> float:
        """1.5 times the 90th percentile of the last 20 transfers, for this many bytes; longer for a peer that was measured slower."""
        most, own = MOST * self.first_seconds, size / bytes_per_second if bytes_per_second else 0.0
        usual = self._slow_per_byte() * size if self._per_byte else self.first_seconds / SLACK
        return min(most, max(LEAST_SECONDS, SLACK * usual, SLACK * own))

    def speed_of_silence(self, size: int) -> float:
        """At least so many bytes a second are expected of a peer of whom nothing came: its next deadline is the first one at most."""
        return SLACK * size / self.first_seconds

    def _slow_per_byte(self) -> float:
        """Between two samples, never beyond the slowest."""
        slow = quantiles(self._per_byte, n=10)[-1] if len(self._per_byte) > 1 else self._per_byte[0]
        return min(slow, max(self._per_byte))
