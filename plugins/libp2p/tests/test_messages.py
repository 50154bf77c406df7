"""What is kept for newcomers: the newest of each, bounded, and nobody pushes out what others have brought."""

from __future__ import annotations

import pytest

from learnae import Standing
from learnae_libp2p.messages import FRAME_BYTES, MESSAGE_BYTES, KeptMessages, Signed, frame_of, parse_frame, topic_of


def signed(sender: str, number: int = 1, key: bytes = b"k", topic: str = "t") -> Signed:
    return Signed(topic=topic, sender=sender.encode(), number=number, key=key, message=b"m%d" % number, wire=b"w")


def test_a_frame_holds_what_was_put_in() -> None:
    frame = parse_frame(frame_of(b"message", b"what it replaces"))
    assert frame is not None
    assert frame.message == b"message" and frame.key == parse_frame(frame_of(b"", b"what it replaces")).key  # type: ignore[union-attr]


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02" + bytes(40), b"\x01" + bytes(15), b"\x01" + bytes(FRAME_BYTES)])
def test_what_is_no_frame_is_told(data: bytes) -> None:
    assert parse_frame(data) is None


def test_the_largest_message_fits() -> None:
    assert parse_frame(frame_of(bytes(MESSAGE_BYTES), b"")) is not None


def test_topics_of_two_channels_differ_whatever_they_are_called() -> None:
    assert len({topic_of(channel) for channel in ("c", "c/../c", "", "\N{SNOWMAN}", "c" * 10_000)}) == 5


def test_the_newest_of_each_key_is_kept() -> None:
    kept = KeptMessages(lambda: 0.0)
    assert (
        kept.add(signed("a", 2), "x", Standing.MEMBER)
        and not kept.add(signed("a", 1), "x", Standing.MEMBER)
        and not kept.add(signed("a", 2), "y", Standing.MEMBER)
    )
    assert kept.add(signed("a", 3), "y", Standing.MEMBER) and kept.add(signed("a", 1, key=b"other"), "x", Standing.MEMBER)
    assert sorted(one.number for one in kept.of(["t"])) == [1, 3]
    assert signed("a", 3) in kept and signed("a", 2) not in kept and signed("b", 3) not in kept
    assert list(kept.of(["another topic"])) == []


def test_after_an_hour_nothing_is_in_force() -> None:
    now = 0.0
    kept = KeptMessages(lambda: now)
    kept.add(signed("a"), "x", Standing.MEMBER)
    now = 3601.0
    assert list(kept.of(["t"])) == []
    assert kept._kept == {} and not any(kept._brought.values())


def test_who_invents_senders_pushes_out_what_he_has_brought_himself() -> None:
    kept = KeptMessages(lambda: 0.0, most=10)
    for name in "abc":
        kept.add(signed(name), "honest", Standing.STRANGER)
    for number in range(1000):
        kept.add(signed(f"invented {number}"), "flood", Standing.STRANGER)
    senders = {one.sender for one in kept.of(["t"])}
    assert {b"a", b"b", b"c"} <= senders and len(senders) == 10


def test_strangers_push_out_nobody_who_counts_from_however_many_hosts() -> None:
    kept = KeptMessages(lambda: 0.0, most=10)
    for name in "abc":
        kept.add(signed(name), "one host", Standing.ACCEPTED)
    for number in range(1000):
        kept.add(signed(f"invented {number}"), f"host {number}", Standing.STRANGER)
    assert {b"a", b"b", b"c"} <= {one.sender for one in kept.of(["t"])}


def test_where_only_those_who_count_are_kept_the_oldest_of_the_host_that_has_brought_most_goes() -> None:
    kept = KeptMessages(lambda: 0.0, most=3)
    for name, host in (("a", "one"), ("b", "two"), ("c", "two"), ("d", "three")):
        kept.add(signed(name), host, Standing.MEMBER)
    assert [one.sender for one in kept.of(["t"])] == [b"a", b"c", b"d"]
