"""A clock that a test moves by hand, for what takes any function as its clock."""

from __future__ import annotations


class Clock:
    """It stands at `now`, in seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now
