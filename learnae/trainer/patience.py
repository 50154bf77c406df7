"""How long a trainer waits for the merge of the snapshot that it has just handed over."""

from __future__ import annotations

import attrs

LONGEST_SECONDS = 0.5


@attrs.define
class Patience:
    """A budget: `share` of the time of each round is saved, up to half a second, and spent on whole merges.

    A merge that takes twice what one round gives is waited for in every second round. A bound for each round on its own, below which
    merges must come, would wait for none of them: a merged model that comes late costs steps, and the pause before it brings nothing.
    """

    share: float
    saved: float = 0.0
    latency: float | None = None
    """Seconds from a snapshot to its merge, of the last merge that came."""

    def earn(self, round_seconds: float) -> None:
        """A round is over."""
        self.saved = min(LONGEST_SECONDS, self.saved + self.share * round_seconds)

    @property
    def seconds(self) -> float:
        """How long to wait now: all that was saved, or not at all where that would not have been enough the last time."""
        return self.saved if self.latency is None or self.latency <= self.saved else 0.0

    def spend(self, seconds: float) -> None:
        """So long was waited."""
        self.saved = max(0.0, self.saved - seconds)
