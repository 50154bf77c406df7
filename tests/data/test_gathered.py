"""Readings that wait for a slice: each once, of one sensor, in ranges that all gatherers have alike, over kills, and within bounds."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from learnae.data import gathered
from learnae.data.gathered import LATE_SECONDS, LOG, SMALL_SECONDS, GatheredReadings
from learnae.data.readings import ReadingFormat, declared, open_sample
from learnae.records import PeerId

ANN, BEN = PeerId("a" * 64), PeerId("b" * 64)
FORMAT = ReadingFormat(declared({"t": "int16"}), "CC0-1.0")


def payload(first: int, count: int = 1) -> bytes:
    return FORMAT.payload(first, [FORMAT.pack({"t": number % 100}) for number in range(first, first + count)])


def add(store: GatheredReadings, first: int, count: int = 1, sensor: PeerId = ANN, now: float = 0.0) -> int:
    data = payload(first, count)
    return store.add(sensor, open_sample(data), data, now)


def store_in(home: Path, rows: int = 8, seconds: float = 1000.0) -> GatheredReadings:
    home.mkdir(mode=0o700, exist_ok=True)
    return GatheredReadings(home, rows, seconds)


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """As on a disk with so much room: of a longer write the beginning is there, and the rest fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def numbers(store: GatheredReadings, now: float = 0.0, most: int = 4) -> list[list[int]]:
    return [[number for number, _ in ready.readings] for ready in store.ready(now, most)]


def test_a_range_that_is_whole_is_ready_and_settled(tmp_path: Path) -> None:
    store = store_in(tmp_path / "h")
    assert add(store, 0, 20) == 20
    assert numbers(store) == [list(range(8))]
    assert numbers(store) == [list(range(8, 16))]
    assert numbers(store) == [] and len(store) == 4
    assert add(store, 0, 20) == 0  # settled, or there


def test_readings_that_come_again_in_other_messages_count_once(tmp_path: Path) -> None:
    store = store_in(tmp_path / "h")
    assert [add(store, 0, 3), add(store, 2, 4), add(store, 1, 2)] == [3, 3, 0]


def test_order_does_not_matter(tmp_path: Path) -> None:
    store = store_in(tmp_path / "h")
    for first in (6, 2, 4, 0):
        add(store, first, 2)
    assert numbers(store) == [list(range(8))]


def test_a_gap_is_waited_for_until_the_next_range_has_come_for_a_while(tmp_path: Path) -> None:
    store = store_in(tmp_path / "h")
    add(store, 0, 5)
    add(store, 8, 1, now=100.0)
    assert numbers(store, 100.0 + LATE_SECONDS - 1) == []
    add(store, 6, 1, now=110.0)
    assert numbers(store, 100.0 + LATE_SECONDS) == [[0, 1, 2, 3, 4, 6]]
    assert add(store, 5, 1) == 0  # too late


def test_what_waits_too_long_is_a_slice_and_the_rest_of_its_range_another(tmp_path: Path) -> None:
    store = store_in(tmp_path / "h", seconds=50.0)
    add(store, 0, 3)
    assert numbers(store, 49.0) == []
    assert numbers(store, 50.0) == [[0, 1, 2]]
    add(store, 3, 5, now=60.0)
    assert numbers(store, 60.0) == [[3, 4, 5, 6, 7]]


def test_far_numbers_make_few_slices(tmp_path: Path) -> None:
    store = store_in(tmp_path / "h")
    for place in range(40):
        add(store, place * 1000, 1, now=float(place))
    made = sum(len(numbers(store, 100.0)) for _ in range(40))
    assert made == 1 and store.dropped == 38
    add(store, 10**9, 1, now=100.0)
    assert numbers(store, 100.0 + SMALL_SECONDS) == [[39_000]]


def test_a_small_slice_that_nobody_could_keep_is_given_again(tmp_path: Path) -> None:
    store = store_in(tmp_path / "h", seconds=50.0)
    add(store, 0, 1)
    assert next(iter(store.ready(50.0, 4))).sensor == ANN  # and whoever asked fails before it asks for the next one
    assert numbers(store, 55.0) == [[0]] and not store.dropped


def test_sensors_take_turns(tmp_path: Path) -> None:
    store = store_in(tmp_path / "h")
    add(store, 0, 24)
    add(store, 0, 8, sensor=BEN)
    assert [ready.sensor for ready in store.ready(0.0, 2)] == [ANN, BEN]


def test_what_was_saved_is_there_after_a_kill_and_what_was_settled_stays_so(tmp_path: Path) -> None:
    store = store_in(tmp_path / "h")
    add(store, 0, 12)
    assert numbers(store) == [list(range(8))]
    store.save()
    add(store, 12, 2)  # not saved
    again = store_in(tmp_path / "h")
    again.load(0.0)
    assert len(again) == 4
    assert add(again, 0, 14) == 2


def test_a_log_that_was_cut_off_gives_what_comes_before_and_is_written_anew(tmp_path: Path) -> None:
    store = store_in(tmp_path / "h")
    for number in range(5):
        add(store, number)
    store.save()
    log = tmp_path / "h" / "data" / LOG
    log.write_bytes(log.read_bytes()[:-3])
    for _ in range(2):
        store = store_in(tmp_path / "h")
        store.load(0.0)
        assert len(store) == 4
        store.save()


def test_an_append_that_was_cut_short_by_a_full_disk_loses_nothing_that_comes_after_it(tmp_path: Path) -> None:
    store = store_in(tmp_path / "h")
    add(store, 0)
    store.save()
    size = (tmp_path / "h" / "data" / LOG).stat().st_size
    add(store, 1)
    with no_file_beyond(size + 20), pytest.raises(OSError, match="too large"):
        store.save()
    add(store, 2)
    with no_file_beyond(size + 20), pytest.raises(OSError, match="too large"):
        store.save()
    add(store, 3)
    store.save()
    again = store_in(tmp_path / "h")
    again.load(0.0)
    assert len(again) == 4


def test_what_is_not_saved_takes_no_more_memory_than_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathered, "_SLACK_BYTES", 1000)
    store = store_in(tmp_path / "h")
    add(store, 0)
    store.save()
    for block in range(100):  # nobody saves
        add(store, 8 * block, 8)
        numbers(store)
    assert store.unsaved_bytes <= 1000
    store.save()
    again = store_in(tmp_path / "h")
    again.load(0.0)
    assert len(again) == 0 and add(again, 799) == 0


@pytest.mark.parametrize("rubbish", [b"\xff" * 100, b"\x00\x01\xa0", b"\x00\x03\x82\x41\x00"])
def test_rubbish_in_the_log_is_no_reason_not_to_start(tmp_path: Path, rubbish: bytes) -> None:
    (tmp_path / "h" / "data").mkdir(mode=0o700, parents=True)
    (tmp_path / "h").chmod(0o700)
    (tmp_path / "h" / "data" / LOG).write_bytes(rubbish)
    store = store_in(tmp_path / "h")
    store.load(0.0)
    assert len(store) == 0 and add(store, 0) == 1
    store.save()
    again = store_in(tmp_path / "h")
    again.load(0.0)
    assert len(again) == 1


def test_the_log_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathered, "_SLACK_BYTES", 1000)
    store = store_in(tmp_path / "h")
    for block in range(100):
        add(store, 8 * block, 8)
        assert len(numbers(store)) == 1
        store.save()
    assert (tmp_path / "h" / "data" / LOG).stat().st_size < 3000


def test_who_has_most_loses_its_oldest_and_strangers_before_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathered, "MOST_READINGS", 20)
    store = store_in(tmp_path / "h", rows=100)
    store.known = lambda peer: peer == ANN
    add(store, 0, 15)
    add(store, 0, 12, sensor=BEN)
    assert len(store) <= 20 and store.dropped >= 7
    held = {ready.sensor: len(ready.readings) for ready in store.ready(1e6, 4)}
    assert held[ANN] == 15


def test_a_sensor_that_was_forgotten_stays_so_after_a_kill(tmp_path: Path) -> None:
    store = store_in(tmp_path / "h")
    add(store, 0, 3)
    add(store, 0, 5, sensor=BEN)
    store.save()
    store.forget(BEN)
    store.save()
    again = store_in(tmp_path / "h")
    again.load(0.0)
    assert (len(again), again.sensors) == (3, 1)


def test_no_more_sensors_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathered, "MOST_SENSORS", 3)
    store = store_in(tmp_path / "h")
    for name in "abcdef":
        add(store, 0, sensor=PeerId(name * 64))
    assert store.sensors == 3 == len(store)
