"""Deadlines learned from transfers, and which own updates are kept."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.node.history import PublishedUpdate
from learnae.node.obtaining import FEW, LEAST_SECONDS, MARGIN, PATIENT_WITH, SAVED, TransferPace
from learnae.node.retention import RetentionPolicy
from learnae.records import Cid, PeerId

MB = 1_000_000


def test_the_first_deadline_is_the_configured_one():
    assert TransferPace(first_seconds=10.0).deadline_seconds(5 * MB) == 10.0


def test_the_deadline_is_one_and_a_half_times_the_slow_transfers_for_this_many_bytes():
    pace = TransferPace(10.0)
    for seconds in (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0):
        pace.transfer_took(seconds, MB)
    assert pace.deadline_seconds(3 * MB) == pytest.approx(1.5 * 2.0 * 3)


def test_tiny_transfers_get_a_deadline_that_a_busy_machine_can_keep():
    pace = TransferPace(10.0)
    pace.transfer_took(0.001, 1000)
    assert pace.deadline_seconds(1000) == LEAST_SECONDS


def test_a_peer_that_was_measured_slower_gets_the_time_that_it_needs():
    """At 1 MB/s an update of 10 MB takes 10 s; the others' transfers say 0.1 s."""
    pace = TransferPace(10.0)
    for _ in range(20):
        pace.transfer_took(0.1, 10 * MB)
    assert pace.deadline_seconds(10 * MB) == LEAST_SECONDS
    assert pace.deadline_seconds(10 * MB, bytes_per_second=MB) == 15.0
    assert pace.deadline_seconds(10 * MB, bytes_per_second=1000 * MB) == LEAST_SECONDS


def test_no_measurement_makes_a_deadline_longer_than_ten_times_the_configured_one():
    pace = TransferPace(10.0)
    pace.transfer_took(1000.0, 1)
    assert pace.deadline_seconds(MB) == 100.0
    assert TransferPace(10.0).deadline_seconds(MB, bytes_per_second=1e-6) == 100.0


@given(st.lists(st.tuples(st.floats(0.001, 100.0), st.integers(1, 10**9)), min_size=1, max_size=40), st.integers(0, 10**9))
def test_a_deadline_is_never_shorter_than_the_floor_nor_longer_than_one_and_a_half_times_the_slowest(transfers, size):
    pace = TransferPace(10.0)
    for seconds, count in transfers:
        pace.transfer_took(seconds, count)
    slowest = max(seconds / count for seconds, count in transfers[-20:])
    assert LEAST_SECONDS <= pace.deadline_seconds(size) <= min(100.0, max(LEAST_SECONDS, 1.5 * slowest * size * (1 + 1e-9)))


def test_the_typical_round_is_the_median_and_unknown_at_first():
    pace = TransferPace(10.0)
    assert pace.round_seconds is None
    for seconds in (1.0, 2.0, 60.0):
        pace.round_took(seconds)
    assert pace.round_seconds == 2.0


def test_before_any_fetch_was_measured_twice_the_first_deadline_is_granted_and_no_fast_transfer_takes_that_back():
    pace = TransferPace(10.0)
    assert pace.retention_seconds == 20.0
    pace.transfer_took(0.1, MB)
    assert pace.retention_seconds == 20.0
    pace.transfer_took(15.0, MB)
    assert pace.retention_seconds == 30.0


def published(*numbers: int, size: int = 10) -> list[PublishedUpdate]:
    return [PublishedUpdate(n, Cid(f"root-{n}"), b"", 0, 0, size, "int8", b"") for n in sorted(numbers, reverse=True)]


def dropped(keeping: RetentionPolicy, items: list[PublishedUpdate], *, now: float = 1000.0, retention: float = 0.0) -> list[int]:
    return [item.number for item in keeping.superfluous(items, now, retention)]


def test_the_newest_three_are_kept():
    assert dropped(RetentionPolicy(quota_bytes=10**6), published(1, 2, 3, 4, 5)) == [2, 1]


def test_whatever_someone_may_still_be_fetching_is_kept():
    keeping = RetentionPolicy(quota_bytes=10**6)
    for item in published(1, 2, 3, 4, 5):
        keeping.announced(item, now=float(item.number))
    assert dropped(keeping, published(1, 2, 3, 4, 5), now=6.0, retention=4.2) == [1]


def test_updates_of_an_earlier_run_are_kept_as_long_as_if_they_had_been_announced_just_now():
    keeping = RetentionPolicy(quota_bytes=10**6)
    assert dropped(keeping, published(1, 2, 3, 4, 5), now=100.0, retention=20.0) == []
    assert dropped(keeping, published(1, 2, 3, 4, 5, 6), now=119.0, retention=20.0) == []
    assert dropped(keeping, published(1, 2, 3, 4, 5, 6), now=121.0, retention=20.0) == [3, 2, 1]


def test_what_is_left_of_the_quota_goes_to_those_that_someone_has_had_the_most_time_to_fetch():
    """One a second, room for five: behind the newest three two stay for their whole time, and the others give way at once."""
    keeping, kept = RetentionPolicy(quota_bytes=50), []
    for number in range(1, 31):
        kept.append(number)
        keeping.announced(published(number)[0], now=float(number))
        gone = dropped(keeping, published(*kept), now=float(number), retention=20.0)
        kept = [item for item in kept if item not in gone]
        assert len(kept) <= 5
        assert kept[-3:] == list(range(max(1, number - 2), number + 1))
        if 5 <= number <= 20:
            assert kept[:2] == [1, 2]
    assert kept[0] < 28


def test_the_quota_drops_the_oldest_but_never_the_newest():
    assert dropped(RetentionPolicy(quota_bytes=25), published(1, 2, 3)) == [1]
    assert dropped(RetentionPolicy(quota_bytes=1), published(1, 2, 3)) == [2, 1]


def test_what_is_kept_is_known_so_that_others_can_have_the_rest_of_the_quota():
    keeping = RetentionPolicy(quota_bytes=100, kept_bytes=40)
    dropped(keeping, published(1, 2, 3, 4, 5, size=20))
    assert keeping.kept_bytes == 60


def a_pace(**seconds: tuple[float, float]) -> TransferPace:
    """Of each peer how long its whole transfers take, and for how long nothing comes meanwhile. A round takes a second."""
    pace = TransferPace(10.0)
    pace.round_took(1.0)
    for name, (whole, silence) in seconds.items():
        pace.came_whole(PeerId(name), whole, silence)
    return pace


def test_half_of_all_peers_do_not_lengthen_the_silence_that_a_round_bears():
    pace = TransferPace(10.0)
    for number in range(8):
        pace.came_whole(PeerId(f"honest {number}"), 1.0, 0.4)
        pace.came_whole(PeerId(f"slow {number}"), 9.0, 7.0)
    assert pace.silence_seconds(PeerId("honest 0")) == pytest.approx(0.8)
    assert pace.silence_seconds(PeerId("unknown")) == pytest.approx(0.8)
    assert pace.silence_seconds(PeerId("slow 0")) == 0.0


def test_where_all_are_silent_for_long_a_round_bears_that_of_all():
    pace = TransferPace(10.0)
    for number in range(3):
        pace.came_whole(PeerId(f"{number}"), 9.0, 4.0 + number)
    assert all(pace.silence_seconds(PeerId(f"{number}")) == pytest.approx(10.0) for number in range(3))


def test_the_transfers_of_no_more_than_some_peers_are_remembered():
    pace = TransferPace(10.0)
    for number in range(3 * PATIENT_WITH):
        seconds = 100.0 if number < 2 * PATIENT_WITH else 1.0
        pace.came_whole(PeerId(f"{number}"), seconds, seconds)
    assert pace.silence_seconds(PeerId("anybody")) == pytest.approx(2.0)
    assert pace.wait_seconds(PeerId("anybody")) == pytest.approx(1.0 + LEAST_SECONDS)


def test_a_round_waits_less_than_a_tenth_longer_than_typical_for_a_newly_known_peer_and_not_at_all_for_who_takes_longer():
    pace = a_pace(a=(0.3, 0.1), b=(0.35, 0.1), slow=(0.5, 0.1))
    assert pace.wait_seconds(PeerId("a")) == pace.wait_seconds(PeerId("unknown")) == pytest.approx(0.35 + MARGIN)
    assert pace.wait_seconds(PeerId("slow")) == 0.0
    assert MARGIN < 0.1


def test_a_peer_that_came_in_time_may_be_late_once_by_what_it_has_saved():
    pace = a_pace(a=(0.1, 0.0), b=(0.1, 0.0))
    for _ in range(3 * SAVED):
        pace.was_awaited(PeerId("a"), 0.05)
    assert pace.wait_seconds(PeerId("a")) == pytest.approx(0.1 + SAVED * MARGIN)
    pace.was_awaited(PeerId("a"), 0.1 + 2 * MARGIN)
    assert pace.wait_seconds(PeerId("a")) == pytest.approx(0.1 + (SAVED - 1) * MARGIN)
    assert pace.wait_seconds(PeerId("b")) == pytest.approx(0.1 + MARGIN)


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=60))
def test_however_a_peer_spreads_its_delays_rounds_wait_for_it_by_less_than_a_tenth_on_average(delays):
    """Beyond what it may have saved before. A peer that is late for ever pays from its margin, and then no round waits for it."""
    pace, waited = a_pace(a=(0.1, 0.0), b=(0.1, 0.0), c=(0.1, 0.0)), 0.0
    for delay in delays:
        seconds = min(0.1 + delay, pace.wait_seconds(PeerId("a")))
        pace.was_awaited(PeerId("a"), seconds)
        pace.came_whole(PeerId("a"), 0.1 + delay, 0.0)
        waited += max(0.0, seconds - 0.1)
    assert waited <= MARGIN * len(delays) + 1e-9


def test_half_of_all_peers_do_not_lengthen_what_a_round_waits_for():
    pace = a_pace(a=(0.1, 0.0), slow=(6.0, 0.1), b=(0.1, 0.0), drips=(7.0, 0.1))
    assert pace.wait_seconds(PeerId("a")) == pytest.approx(0.1 + MARGIN)
    assert pace.wait_seconds(PeerId("drips")) == 0.0


def test_one_slow_transfer_among_others_of_a_peer_changes_nothing():
    pace = a_pace(a=(0.1, 0.0), b=(0.1, 0.0))
    for seconds in (0.1, 5.0, 0.1):
        pace.came_whole(PeerId("a"), seconds, 0.0)
        assert pace.wait_seconds(PeerId("a")) == pytest.approx(0.1 + MARGIN)
    for _ in range(FEW):
        pace.came_whole(PeerId("a"), 5.0, 0.0)
    assert pace.wait_seconds(PeerId("a")) == 0.0
    assert pace.wait_seconds(PeerId("b")) == pytest.approx(0.1 + MARGIN)


def test_before_anything_came_only_the_first_deadline_bounds_what_a_round_waits_for():
    assert TransferPace(10.0).wait_seconds(PeerId("a")) == math.inf
