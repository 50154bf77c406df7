"""The newest of each peer, told apart from replays, duplicates and equivocation, within bounds."""

import attrs
import pytest

from learnae.node.inbox import MARKS_PER_PEER, Arrival, HighWaterMark, Inbox, InboxEntry
from learnae.node.peers import Peers
from learnae.records import Announcement, AnnouncementKind, Cid, Leaving, PeerId, Sample, Slice
from tests.support.records import an_update


def entry(peer: str, number: int, *, digest: bytes = b"d", backlog: bool = False) -> InboxEntry:
    body = an_update()
    return InboxEntry(Announcement(swarm=b"s" * 16, peer=PeerId(peer), number=number, body=body), digest, b"message", 0.0, 1, backlog)


def inbox(capacity: int = 3, trusted: tuple[str, ...] = ()) -> Inbox:
    return Inbox(capacity, lambda peer: peer in trusted)


def newest(box: Inbox) -> dict[str, int]:
    return {item.peer: item.announcement.number for item in box.updates()}


def test_the_newest_number_of_a_peer_replaces_the_older_one():
    box = inbox()
    assert [box.put(entry("a", 1)), box.put(entry("a", 5))] == [Arrival.NEW, Arrival.NEW]
    assert newest(box) == {"a": 5}


def test_a_number_below_the_mark_is_a_replay_and_changes_nothing():
    box = inbox()
    box.put(entry("a", 5))
    assert box.put(entry("a", 4, digest=b"other")) is Arrival.REPLAY
    assert newest(box) == {"a": 5}


def left_behind(box: Inbox, failures: int = 1) -> int | None:
    known = box.known[PeerId("a")].older.best(failures)
    return None if known is None else known.announcement.number


@pytest.mark.parametrize("numbers", [(4, 5), (5, 4)])
def test_of_a_peer_that_is_not_there_an_update_before_its_newest_is_kept_beside_it(numbers):
    box = inbox()
    for number in numbers:
        box.put(entry("a", number, backlog=True))
    assert newest(box) == {"a": 5}
    assert left_behind(box) == 4
    assert box.known[PeerId("a")].silent


def test_an_older_update_that_comes_live_shows_no_life_and_counts_once():
    box = inbox()
    box.put(entry("a", 5, backlog=True))
    assert not box.is_overtaken(PeerId("a"), AnnouncementKind.UPDATE, 4)
    assert [box.put(entry("a", 4)), box.put(entry("a", 4))] == [Arrival.OLDER, Arrival.REPLAY]
    assert box.known[PeerId("a")].silent
    assert all(item.backlog for item in (box.known[PeerId("a")].older.best(1), *box.updates()))


def test_of_a_peer_that_is_there_an_older_update_is_a_replay():
    box = inbox()
    box.put(entry("a", 4, backlog=True))
    box.put(entry("a", 5))
    assert left_behind(box) is None
    assert box.put(entry("a", 4)) is Arrival.REPLAY
    assert box.is_old(entry("a", 4).announcement, b"d")


def test_what_its_peer_replaces_live_is_kept_no_more():
    box = inbox()
    for item in (entry("a", 4, backlog=True), entry("a", 5, backlog=True), entry("a", 6)):
        box.put(item)
    box.leave_behind(PeerId("a"))
    assert left_behind(box) is None


def test_as_many_older_ones_as_somebody_shows_fill_two_places_and_those_that_failed_give_way():
    box = inbox()
    box.put(entry("a", 50, backlog=True))
    for number in range(30, 50):
        box.put(entry("a", number))
    older = box.known[PeerId("a")].older
    assert [number for number in range(50) if number in older] == [48, 49]
    assert box.put(entry("a", 20)) is Arrival.REPLAY
    older.failed(49)
    assert left_behind(box) == 48
    assert box.put(entry("a", 20)) is Arrival.OLDER
    assert [number for number in range(50) if number in older] == [20, 48]


def test_the_same_message_again_is_a_duplicate_while_it_is_held():
    box = inbox()
    box.put(entry("a", 5))
    assert box.put(entry("a", 5)) is Arrival.DUPLICATE


def test_the_same_message_refills_a_slot_that_a_restart_has_emptied():
    box = Inbox(3, lambda peer: False, marks={(PeerId("a"), AnnouncementKind.UPDATE): HighWaterMark(5, b"d")})
    assert box.put(entry("a", 5, backlog=True)) is Arrival.REFILLED
    assert newest(box) == {"a": 5}


def test_another_payload_under_a_number_that_was_heard_is_equivocation():
    box = inbox()
    box.put(entry("a", 5, digest=b"one"))
    assert box.put(entry("a", 5, digest=b"two")) is Arrival.EQUIVOCATION
    assert newest(box) == {"a": 5}


def test_kinds_are_numbered_apart():
    box = inbox()
    box.put(entry("a", 5))
    sample = InboxEntry(Announcement(swarm=b"s" * 16, peer=PeerId("a"), number=1, body=Sample(b"x")), b"d", b"m", 0.0, 1, False)
    assert box.put(sample) is Arrival.NEW


def test_a_flood_of_strangers_evicts_strangers_by_lot_and_never_a_trusted_peer():
    box = inbox(capacity=21, trusted=("friend",))
    for name in ("friend", *(f"early {number}" for number in range(20))):
        box.put(entry(name, 1))
    for number in range(20):
        box.put(entry(f"late {number}", 1))
    held = set(newest(box))
    assert "friend" in held and len(held) == 21
    assert 4 <= sum(name.startswith("late") for name in held) <= 16


def test_an_inbox_full_of_identities_that_were_merged_once_and_failed_since_takes_newcomers():
    peers = Peers(10)
    box = Inbox(3, peers.trusts)
    for number in range(3):
        peers.merged(PeerId(f"spoiled {number}"))
        peers.failed(PeerId(f"spoiled {number}"))
        box.put(entry(f"spoiled {number}", 1))
    for number in range(20):
        box.put(entry(f"late {number}", 1))
    assert any(name.startswith("late") for name in newest(box))


def full_of_merged(silent: int) -> Inbox:
    """Twenty accepted peers, the first of which have fallen silent."""
    names = [f"merged {number}" for number in range(20)]
    box = inbox(capacity=20, trusted=tuple(names))
    for number, name in enumerate(names):
        box.put(attrs.evolve(entry(name, 1), heard_at=float(number)))
        box.known[PeerId(name)].silent = number < silent
    return box


def test_identities_that_were_merged_once_and_fell_silent_give_way_to_newcomers_the_longest_silent_first():
    box = full_of_merged(silent=2)
    for number in range(2):
        box.put(attrs.evolve(entry(f"new {number}", 1), heard_at=100.0))
    assert {"new 0", "new 1"} <= newest(box).keys() and not {"merged 0", "merged 1"} & newest(box).keys()


def test_a_tenth_of_an_inbox_full_of_accepted_peers_is_for_newcomers_and_no_more():
    box = full_of_merged(silent=0)
    for number in range(50):
        box.put(attrs.evolve(entry(f"new {number}", 1), heard_at=100.0))
    assert sum(name.startswith("new") for name in newest(box)) == 2


def test_a_stranger_that_is_heard_again_is_as_old_as_when_it_was_first_heard():
    box = inbox(capacity=1)
    box.put(attrs.evolve(entry("a", 1), heard_at=5.0))
    box.put(attrs.evolve(entry("b", 1), heard_at=6.0))
    box.put(attrs.evolve(entry("a", 2), heard_at=7.0))
    assert (box.known_since(PeerId("a")), box.known_since(PeerId("b"))) == (5.0, 6.0)


def test_high_water_marks_survive_eviction():
    box = inbox(capacity=1)
    box.put(entry("a", 9))
    box.put(entry("b", 1))
    assert box.put(entry("b", 0)) is Arrival.REPLAY


def test_high_water_marks_are_bounded_and_the_held_ones_stay():
    box = inbox(capacity=2, trusted=("friend",))
    box.put(entry("friend", 7))
    for number in range(2 * MARKS_PER_PEER + 50):
        box.put(entry(f"sybil-{number}", 1))
    assert len(box.marks) == 2 * MARKS_PER_PEER
    assert box.put(entry("friend", 6)) is Arrival.REPLAY


def test_changed_marks_are_handed_over_once():
    box = inbox()
    box.put(entry("a", 5))
    assert box.take_changed_marks() == {(PeerId("a"), AnnouncementKind.UPDATE): HighWaterMark(5, b"d")}
    assert box.take_changed_marks() == {}


@pytest.mark.parametrize("backlog", [True, False])
def test_what_a_leaving_peer_has_announced_stays_for_newcomers_only(backlog: bool):
    box = inbox()
    box.put(entry("a", 5, backlog=backlog))
    box.leave_behind(PeerId("a"))
    assert [item.backlog for item in box.updates()] == [True]


def sample(number: int, digest: bytes = b"d") -> InboxEntry:
    body = Sample(b"readings")
    return InboxEntry(Announcement(swarm=b"s" * 16, peer=PeerId("a"), number=number, body=body), digest, b"message", 0.0, 1, False)


def test_samples_that_were_overtaken_are_taken_each_once():
    box = inbox()
    arrivals = [box.put(sample(number)) for number in (70, 100, 99, 98, 71, 99, 70)]
    assert arrivals == [*[Arrival.NEW] * 5, Arrival.REPLAY, Arrival.REPLAY]
    newest = box.get(PeerId("a"), AnnouncementKind.SAMPLE)
    assert newest is not None and newest.announcement.number == 100


def test_samples_from_before_the_window_are_replays():
    box = inbox()
    box.put(sample(100))
    assert box.put(sample(36)) is Arrival.NEW
    assert box.put(sample(35)) is Arrival.REPLAY


def test_a_leap_leaves_no_older_sample_open():
    box = inbox()
    for number in (1, 2, 1000):
        box.put(sample(number))
    assert box.put(sample(2)) is Arrival.REPLAY
    assert box.put(sample(999)) is Arrival.NEW


def test_after_a_restart_no_sample_below_the_mark_is_taken():
    box = Inbox(3, lambda peer: False, marks={(PeerId("a"), AnnouncementKind.SAMPLE): HighWaterMark(100, b"d")})
    assert box.put(sample(99)) is Arrival.REPLAY
    assert [box.put(sample(number)) for number in (105, 104)] == [Arrival.NEW, Arrival.NEW]
    assert box.put(sample(100)) is Arrival.REPLAY


def test_an_old_sample_costs_no_check_and_one_that_was_overtaken_does():
    box = inbox()
    for number in (97, 100):
        box.put(sample(number))
    assert box.is_old(sample(97).announcement, b"d") and not box.is_old(sample(98).announcement, b"d")
    assert not box.is_overtaken(PeerId("a"), AnnouncementKind.SAMPLE, 98)
    assert box.is_overtaken(PeerId("a"), AnnouncementKind.SAMPLE, 30)


def offer(number: int, *, backlog: bool = False) -> InboxEntry:
    body = Slice(root=Cid(f"slice-{number}"), bytes=100, schema=b"schema-1", rows=3)
    announcement = Announcement(swarm=b"s" * 16, peer=PeerId("a"), number=number, body=body)
    return InboxEntry(announcement, f"d{number}".encode(), b"message", 0.0, 1, backlog)


def test_offers_of_rows_that_come_in_any_order_are_taken_each_once():
    box = inbox()
    arrivals = [box.put(offer(number)) for number in (2000, 1000, 1500, 1000, 975)]
    assert arrivals == [Arrival.NEW, Arrival.NEW, Arrival.NEW, Arrival.REPLAY, Arrival.REPLAY]


def test_an_offer_of_rows_is_no_sign_of_life():
    box = inbox()
    box.put(offer(1))
    assert box.known[PeerId("a")].silent and not box.known[PeerId("a")].heard_live


def test_the_newest_offer_of_who_has_left_is_taken_live_though_it_was_known_as_backlog():
    box = inbox()
    box.put(offer(5, backlog=True))
    box.put(InboxEntry(Announcement(swarm=b"s" * 16, peer=PeerId("a"), number=9, body=Leaving()), b"g", b"message", 0.0, 1, True))
    assert box.put(offer(5)) is Arrival.REFILLED
    assert box.put(offer(5)) is Arrival.DUPLICATE


def test_after_a_restart_offers_below_the_mark_are_heard_again():
    box = Inbox(3, lambda peer: False, marks={(PeerId("a"), AnnouncementKind.SLICE): HighWaterMark(100, b"d100")})
    assert [box.put(offer(number)) for number in (99, 100, 99)] == [Arrival.NEW, Arrival.REFILLED, Arrival.REPLAY]
