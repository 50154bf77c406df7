"""When the next snapshot is due."""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs

JOINING_SECONDS = 1.0


@attrs.define
class Schedule:
    """After so many steps or so much time, whichever comes first; while the model has no lineage yet, with the first step after a second.

    Steps are counted by the trainer, time by whoever looks now and then: so a slow trainer is asked for nothing in its steps.
    """

    local_steps: int
    round_seconds: float
    clock: Callable[[], float] = time.monotonic
    _step: int = 0
    _time: float = 0.0

    def at_once(self, steps: int) -> None:
        """With the next step."""
        self._step, self._time = steps, self.clock()

    def taken(self, steps: int, *, joined: bool) -> None:
        """A snapshot was taken of the model after so many steps."""
        seconds = self.round_seconds if joined else min(JOINING_SECONDS, self.round_seconds)
        self._step, self._time = steps + self.local_steps, self.clock() + seconds

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._time - self.clock())

    @property
    def step(self) -> int:
        """The step with which a snapshot is due, as things stand; 0 when its time has come."""
        return self._step if self.seconds_left > 0 else 0
