"""What is remembered of peers, and how much of it."""

from learnae.node.peers import Peers
from learnae.records import PeerId


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
    peers.note(PeerId("friend")).ever_accepted = True
    failing(peers, "friend", *(f"sybil-{number}" for number in range(100)))
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
