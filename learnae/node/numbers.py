"""The numbers of the own messages, and what is made of one that comes under the own key with a number never sent (docs/decisions/0029)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import numpy as np

from learnae.records import Kind

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

LEAP = 1 << 32
"""More messages than one home ever sends: whoever goes on above a leap is beyond all that was said before."""

PAUSE_SECONDS = 60.0
LONGEST_PAUSE = 3600.0

FORGIVEN_SECONDS = 6 * LONGEST_PAUSE
"""So long after a pause it is forgotten: a machine that ran for an hour last year makes no pause longer."""

KEPT = 1024  # numbers of each kind that were taken and not sent


@attrs.define
class Numbers:
    """`used` is the highest of each kind that was taken, `raised` where this run has leapt to.

    A number is taken long before its message is sent: meanwhile the model is encoded and stored. What comes under the own key with that
    number or a higher one tells that it was used before, so it is not sent any more, nor is what comes under one that was given up ours.

    Somebody may have kept all that an earlier life of this key has said, and show it again, live and in any order: it ends below the first
    leap. What comes above a leap was said by who knows of it, so by a second peer with this key. That is told, and this peer pauses. For
    good it stops for nobody: who has lost several homes may have leapt in one of them too.
    """

    clock: Callable[[], float]
    log: FilteringBoundLogger
    used: dict[Kind, int] = attrs.field(factory=dict)
    raised: dict[Kind, int] = attrs.field(factory=dict)
    rng: np.random.Generator = attrs.field(factory=lambda: np.random.default_rng(0), kw_only=True)
    _unsent: dict[Kind, dict[int, None]] = attrs.field(factory=dict)  # taken, and not sent: under way, or given up
    _pause: float = PAUSE_SECONDS  # the next one
    _until: float = -math.inf

    @property
    def elsewhere(self) -> bool:
        """Whether nothing must be published now: this identity runs on another machine too."""
        return self.clock() < self._until

    def take(self, kind: Kind, number: int) -> bool:
        """This number is on disk, and will be sent next. False if another was heard above it meanwhile."""
        if not self.stands(kind, number):
            return False
        self.used[kind] = max(number, self.used.get(kind, 0))
        unsent = self._unsent.setdefault(kind, {})
        unsent[number] = None
        if len(unsent) > KEPT:
            del unsent[next(iter(unsent))]
        return True

    def stands(self, kind: Kind, number: int) -> bool:
        """Whether nobody has been heard to use it since it was taken: each leap goes beyond all that was taken."""
        return number > self.raised.get(kind, 0)

    def send(self, kind: Kind, number: int) -> bool:
        """It is sent now, unless it must not be."""
        if self.elsewhere or not self.stands(kind, number):
            return False
        self._unsent.get(kind, {}).pop(number, None)
        return True

    def is_old(self, kind: Kind, number: int) -> bool:
        """Whether a message with this number under the own key would tell nothing, whoever has signed it."""
        return number <= self.used.get(kind, 0) and number not in self._unsent.get(kind, {})

    def hear(self, kind: Kind, number: int, *, backlog: bool) -> None:
        """What came under the own key. Leaps are drawn: two that are shown the same message must not go on with the same numbers."""
        if self.is_old(kind, number):
            return
        again = kind in self.raised
        self._unsent.pop(kind, None)
        self.raised[kind] = self.used[kind] = max(number, self.used.get(kind, 0)) + LEAP + int(self.rng.integers(LEAP))
        if backlog:
            return
        if again:
            self._take_a_pause()
        else:
            self.log.warning(
                "identity.raised", kind=kind.name, remedy="nothing if this home is new and its key is not; else see that no other uses it"
            )

    def _take_a_pause(self) -> None:
        if self.clock() - self._until > FORGIVEN_SECONDS:
            self._pause = PAUSE_SECONDS
        remedy = "this key runs on another machine too: stop one of them, or give one a new home"
        self.log.error("identity.elsewhere", remedy=remedy, consequence=f"nothing is published for {self._pause:g} s")
        self._until = self.clock() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
