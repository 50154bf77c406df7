"""Whether something lasts, in rounds and in seconds."""

from learnae.node.lineage import MinimumDuration


def test_something_lasts_when_both_the_rounds_and_the_seconds_have_passed():
    lasting = MinimumDuration(rounds=10, seconds=5.0)
    assert not lasting.noted(3, 100.0)
    assert not lasting.noted(13, 104.9)
    assert not lasting.noted(12, 106.0)
    assert lasting.noted(13, 105.0)


def test_a_gap_that_is_shorter_does_not_begin_it_anew():
    """A lineage of slow peers is not fresh in every round of a fast one."""
    lasting = MinimumDuration(rounds=10, seconds=5.0)
    lasting.noted(0, 0.0)
    assert lasting.noted(9, 5.0) is False
    assert lasting.noted(18, 9.0)


def test_a_gap_that_is_as_long_begins_it_anew():
    lasting = MinimumDuration(rounds=10, seconds=5.0)
    lasting.noted(0, 0.0)
    assert not lasting.noted(10, 5.0)
    assert lasting.noted(15, 8.0) is False
    assert lasting.noted(20, 10.0)


def test_after_a_failure_it_must_last_as_long_again():
    lasting = MinimumDuration(rounds=2, seconds=0.0)
    lasting.noted(0, 0.0)
    lasting.noted(1, 1.0)
    assert lasting.noted(2, 2.0)
    lasting.anew()
    assert not lasting.noted(3, 3.0)
    assert not lasting.noted(4, 4.0)
    assert lasting.noted(5, 5.0)
