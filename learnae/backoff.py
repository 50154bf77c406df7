"""How long to wait before the next start."""

from __future__ import annotations

import attrs


@attrs.define
class Backoff:
    """Doubles from `first` to `limit` seconds, and begins anew after a life of `healthy` seconds."""

    first: float = 0.5
    limit: float = 30.0
    healthy: float = 60.0
    _next: float = attrs.field(default=0.0, init=False)

    def after(self, lived: float) -> float:
        """Seconds to wait after something that lived so long."""
        delay = self._next if self._next and lived < self.healthy else self.first
        self._next = min(2 * delay, self.limit)
        return delay
