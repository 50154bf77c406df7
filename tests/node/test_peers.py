"""What is remembered of peers, and how much of it."""

import pytest

from learnae.node.attempts import FetchAttempts, RepeatedUpdate
from learnae.node.inbox import Inbox, InboxEntry
from learnae.node.peers import Peers
from learnae.records import Announcement, PeerId
from tests.support.records import an_update

ALICE = PeerId("alice")


def entry(peer: PeerId) -> InboxEntry:
    return InboxEntry(Announcement(swarm=b"s" * 16, peer=peer, number=1, body=an_update()), b"digest", b"message", 0.0, 1, False)


def holding(*entries: InboxEntry) -> Inbox:
    inbox = Inbox(100, lambda peer: False)
    for item in entries:
        inbox.put(item)
    return inbox


def remembered(peers: Peers, *names: str) -> list[str]:
    return [name for name in names if peers.get(PeerId(name)).failures]


def failing(peers: Peers, *names: str) -> Peers:
    for name in names:
        peers.note(PeerId(name)).failures = 1
    return peers


def test_reading_keeps_nothing():
    peers = Peers(2)
    assert peers.get(PeerId("a")).failures == 0
    assert len(peers) == 0


def test_the_stranger_noted_first_is_forgotten_first():
    peers = failing(Peers(2), "a", "b", "c")
    assert remembered(peers, "a", "b", "c") == ["b", "c"]


def test_a_peer_that_was_accepted_outlives_any_number_of_strangers():
    peers = Peers(2)
    peers.merged(PeerId("friend"))
    failing(peers, "friend", *(f"sybil-{number}" for number in range(100)))
    assert peers.trusts(PeerId("friend"))
    assert remembered(peers, "friend") == ["friend"]
    assert len(peers) == 2


def test_changes_are_handed_over_once_as_copies():
    peers = failing(Peers(2), "a")
    taken = peers.take_changed()
    peers.note(PeerId("a")).failures = 7
    assert taken[PeerId("a")].failures == 1
    assert peers.take_changed()[PeerId("a")].failures == 7
    assert peers.take_changed() == {}


def test_what_was_forgotten_before_it_was_saved_is_not_saved():
    peers = failing(Peers(1), "a", "b")
    assert set(peers.take_changed()) == {"b"}


def test_spoiled_identities_are_forgotten_before_a_newcomer_is():
    peers = Peers(3)
    for name in ("sybil-1", "sybil-2", "friend"):
        peers.merged(PeerId(name))
    peers.failed(PeerId("sybil-1"))
    failing(peers, "newcomer")
    assert remembered(peers, "sybil-1", "newcomer") == ["newcomer"]
    assert peers.trusts(PeerId("friend"))


def trust_after(fates: str) -> float:
    """Of updates that were merged (+) or failed (-), one after the other."""
    peers = Peers(10)
    for fate in fates:
        (peers.merged if fate == "+" else peers.failed)(ALICE)
    return peers.get(ALICE).trust


@pytest.mark.parametrize(
    ("fates", "trust"),
    [
        ("", 0),
        ("-", 0),
        ("+", 1 / 2),
        ("++", 1),
        ("++++++++", 1),
        ("++-", 1 / 8),
        ("+-", 1 / 16),
        ("++--", 1 / 16),
        ("++---", 0),
        ("++---+", 1 / 2),
        ("++-+", 1 / 2),
        ("++-++", 1),
    ],
)
def test_trust_grows_with_what_is_merged_and_falls_faster(fates, trust):
    assert trust_after(fates) == trust


@pytest.mark.parametrize(("fates", "trusted"), [("", False), ("+", True), ("++-", False), ("++-+", True), ("++---+", True)])
def test_a_round_waits_for_who_did_not_fail_at_the_last_try(fates, trusted):
    peers = Peers(10)
    for fate in fates:
        (peers.merged if fate == "+" else peers.failed)(ALICE)
    assert peers.trusts(ALICE) is trusted


def test_whoever_can_be_had_through_others_loses_no_trust_where_it_cannot_be_reached_itself():
    peers = Peers(10)
    newest = entry(ALICE)
    attempts = FetchAttempts(holding(newest), peers)
    repeated = RepeatedUpdate.of(newest)
    for round_ in (1, 2):
        attempts.tried(repeated, round_, there=True)
        attempts.merged(repeated)
    attempts.failed(newest)
    assert peers.get(ALICE).trust == 1
    attempts.failed(repeated)
    assert peers.get(ALICE).trust < 1


def test_of_peers_that_the_inbox_has_forgotten_attempts_keep_no_more_than_the_inbox_holds():
    """Whoever invents identities fills no memory."""
    peers, inbox = Peers(10), Inbox(2, lambda peer: False)
    attempts = FetchAttempts(inbox, peers)
    for number in range(100):
        stranger = entry(PeerId(f"sybil-{number}"))
        inbox.put(stranger)
        attempts.hear_once_more(stranger, stranger.medium)
    assert len(attempts) <= 2 * inbox.capacity
