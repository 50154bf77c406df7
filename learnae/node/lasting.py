"""Whether something goes on: long enough in rounds and in seconds, since peers may make a hundred rounds a second or one an hour."""

from __future__ import annotations

import attrs


@attrs.define
class Lasting:
    """Noted now and then, it lasts once it began so many own rounds and seconds ago; not noted for as long, it begins anew."""

    rounds: int
    seconds: float
    _began: tuple[int, float] | None = None
    _last: tuple[int, float] = (0, 0.0)

    def noted(self, round_: int, now: float) -> bool:
        """It is so in this round: does it last?"""
        if self._began is None or self._long(self._last, round_, now):
            self._began = round_, now
        self._last = round_, now
        return self._long(self._began, round_, now)

    def anew(self) -> None:
        """Whatever comes, it begins with its next note."""
        self._began = None

    def _long(self, since: tuple[int, float], round_: int, now: float) -> bool:
        return round_ - since[0] >= self.rounds and now - since[1] >= self.seconds
