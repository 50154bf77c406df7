"""Crowds of invented sensors beside an honest one: its readings become slices all the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from learnae.data.gathered import GatheredReadings
from learnae.data.readings import ReadingFormat, declared, open_sample
from learnae.records import PeerId

HONEST, ROWS, LOOK_SECONDS, AT_ONCE = PeerId("a" * 64), 16, 5.0, 4
FORMAT = ReadingFormat(declared({"t": "int16"}), "CC0-1.0")


def say(store: GatheredReadings, sensor: PeerId, first: int, count: int, now: float) -> None:
    data = FORMAT.payload(first, [FORMAT.pack({"t": 1})] * count)
    store.add(sensor, open_sample(data), data, now)


def crowd(store: GatheredReadings, tick: int, now: float) -> None:
    """New identities each time, of which each soon has a slice of one reading to be made: a later one has come."""
    for place in range(8):
        for first in (0, ROWS):
            say(store, PeerId(f"{8 * tick + place:064x}"), first, 1, now)


@pytest.mark.parametrize("named", [True, False], ids=["named by the file", "new"])
def test_a_crowd_of_invented_sensors_keeps_no_reading_of_an_honest_one_from_its_slice(tmp_path: Path, named: bool) -> None:
    home = tmp_path / "h"
    home.mkdir(mode=0o700)
    given = Counter[PeerId]()
    store = GatheredReadings(home, ROWS, 1e6, lambda sensor: given[sensor] > 0 or (named and sensor == HONEST))
    for tick in range(20):
        crowd(store, tick, LOOK_SECONDS * tick)
    for tick in range(20, 140):
        now = LOOK_SECONDS * tick
        say(store, HONEST, (tick - 20) * ROWS // 4, ROWS // 4, now)
        crowd(store, tick, now)
        given.update(ready.sensor for ready in store.ready(now, AT_ONCE))
    assert given[HONEST] >= (120 // 4) // 2
    assert given.total() == 120 * AT_ONCE, "the crowd has its places as well"
