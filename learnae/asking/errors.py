"""What is wrong with an answer."""

from __future__ import annotations


class BadAnswer(Exception):
    """What answers speaks no HTTP, or bends it: nothing that it says can be used."""


class TooLong(BadAnswer):
    """More than was asked for; the rest was not read."""

    def __init__(self, most: int) -> None:
        super().__init__(f"an answer of more than {most} bytes")
