"""How long to wait before the next look: short after something has come, longer and longer while nothing does."""

from __future__ import annotations

import attrs

FASTEST_SECONDS = 0.1
GROWTH = 1.25
REST = 3.0  # times as long as the look has taken: a slow node, or a flood, is not asked without a pause
LONGEST_REST_SECONDS = 10.0


@attrs.define
class PollingPace:
    slowest_seconds: float
    _seconds: float = FASTEST_SECONDS

    def pause(self, came: bool, took_seconds: float) -> float:
        self._seconds = min(FASTEST_SECONDS if came else self._seconds * GROWTH, self.slowest_seconds)
        return rest(self._seconds, took_seconds)


def rest(least_seconds: float, took_seconds: float) -> float:
    """The pause after a look that has taken so long."""
    return max(least_seconds, min(REST * took_seconds, LONGEST_REST_SECONDS))
