"""Sensors of this example: what the station on an airfield measures when a flight is to leave, and whether it then left late.

One function for each station and season, for `[sensor] entry`. None of them needs PyTorch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flights

WINTER, SPRING, SUMMER, AUTUMN = (12, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)


def readings(airport: str, months: Sequence[int]) -> Iterator[Mapping[str, Any]]:
    """One for each flight of the days that are not for tests, in their order. A generator is asked no faster than readings can be sent."""
    found = flights.read(airports=[airport], months=months).training
    for features, late in zip(found.features, found.late, strict=True):
        yield {"features": features, "label": int(late)}


ewr_winter, ewr_spring, ewr_summer, ewr_autumn = (functools.partial(readings, "EWR", months) for months in (WINTER, SPRING, SUMMER, AUTUMN))
jfk_winter, jfk_summer, jfk_autumn = (functools.partial(readings, "JFK", months) for months in (WINTER, SUMMER, AUTUMN))
lga_winter, lga_summer, lga_autumn = (functools.partial(readings, "LGA", months) for months in (WINTER, SUMMER, AUTUMN))
