"""What comes from strangers: taken or counted, never raised, never kept without bound."""

import hashlib
import logging
from collections.abc import Callable
from functools import cache

import attrs
import cbor2
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from learnae.content.cids import raw_cid
from learnae.identity.envelopes import ENVELOPE_BYTES, encode_envelope
from learnae.identity.keys import Admission, Identity
from learnae.identity.swarms import swarm_id
from learnae.node.history import History
from learnae.node.inbox import MARKS_PER_PEER, Inbox
from learnae.node.peers import Peers
from learnae.node.receive import PROOFS, RECENT, Receiver
from learnae.records import Announcement, AnnouncementKind, Body, FirstLook, Heard, Leaving, PeerId, Present, Standing, Update
from learnae.testing.context import make_runtime
from tests.support.records import an_update

SWARM = swarm_id("ours")
CAPACITY, REMEMBERED = 16, 50


@cache
def identity(name: str) -> Identity:
    return Identity.generate(hashlib.sha256(name.encode()).digest())


def update(content: bytes = b"root") -> Update:
    return an_update(raw_cid(content))


def said(name: str, number: int, body: Body | None = None, *, swarm: bytes = SWARM) -> bytes:
    return encode_envelope(identity(name), Announcement(swarm=swarm, peer=identity(name).peer, number=number, body=body or update()))


@attrs.define
class Listener:
    """A Receiver with what watchers were told."""

    receiver: Receiver
    changes: list[tuple[str, str]]

    def hears(self, *messages: bytes, backlog: bool = False) -> "Listener":
        for message in messages:
            self.receiver.hear(Heard(message, backlog))
        return self

    def newest(self, name: str, kind: AnnouncementKind = AnnouncementKind.UPDATE) -> int | None:
        entry = self.receiver.inbox.get(identity(name).peer, kind)
        return entry.announcement.number if entry else None


def listener(*, deny=(), allow=(), history: History | None = None, clock: Callable[[], float] = lambda: 0.0) -> Listener:
    changes: list[tuple[str, str]] = []
    names = {identity(name).peer: name for name in ("alice", "bob", "carol")}
    peers = Peers(REMEMBERED, history.peers() if history else {})
    receiver = Receiver(
        own=identity("me").peer,
        swarm=SWARM,
        admission=Admission([identity(name).peer for name in allow], [identity(name).peer for name in deny]),
        inbox=Inbox(CAPACITY, peers.trusts, marks=history.marks() if history else {}),
        peers=peers,
        runtime=make_runtime(
            clock=clock,
            log=structlog.wrap_logger(structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING)),
        ),
        on_change=lambda peer, state: changes.append((names.get(peer, peer), state)),
    )
    return Listener(receiver, changes)


def test_an_update_that_is_heard_stands_in_the_inbox():
    heard = listener().hears(said("alice", 3))
    assert heard.newest("alice") == 3
    assert heard.receiver.refusals == {}


def tampered(message: bytes) -> bytes:
    return message[:-1] + bytes([message[-1] ^ 1])


def claimed_by(name: str, message: bytes) -> bytes:
    return message[:1] + bytes.fromhex(identity(name).peer) + message[33:]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "malformed"),
        (b"\x01" + bytes(500), "malformed"),
        (bytes(ENVELOPE_BYTES + 1), "oversized"),
        (b"\x09" + said("alice", 1)[1:], "version"),
        (said("alice", 1, swarm=swarm_id("theirs")), "foreign"),
        (claimed_by("bob", said("alice", 1)), "signature"),
        (said("eve", 1), "denied"),
    ],
    ids=["empty", "zeros", "too long", "of another version", "of another swarm", "in another's name", "of a denied peer"],
)
def test_what_is_refused_is_counted_by_its_reason_and_leaves_nothing_behind(message, reason):
    heard = listener(deny=["eve"]).hears(message, message)
    assert heard.receiver.refusals == {reason: 2}
    assert heard.receiver.inbox.known == {}
    assert heard.receiver.inbox.marks == {}


def test_only_those_who_are_allowed_are_heard():
    heard = listener(allow=["alice"]).hears(said("alice", 1), said("bob", 1))
    assert (heard.newest("alice"), heard.newest("bob")) == (1, None)
    assert heard.receiver.refusals == {"not-allowed": 1}


def test_a_kind_that_is_not_known_is_counted():
    payload = cbor2.dumps({0: SWARM, 1: 77, 2: 1}, canonical=True)
    signature = identity("alice").sign(b"learnae/announcement/1" + payload)
    heard = listener().hears(b"\x01" + bytes.fromhex(identity("alice").peer) + signature + payload)
    assert heard.receiver.refusals == {"unknown-kind": 1}


def test_replays_and_duplicates_are_counted_and_change_nothing():
    heard = listener().hears(said("alice", 5), said("alice", 4), said("alice", 5))
    assert heard.newest("alice") == 5
    assert heard.receiver.refusals == {"replay": 1, "duplicate": 1}


@given(st.binary(max_size=ENVELOPE_BYTES + 50))
def test_garbage_is_counted_once_and_raises_nothing(garbage):
    heard = listener().hears(garbage)
    assert heard.receiver.refusals.total() == 1
    assert heard.receiver.inbox.known == {}


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_message_with_one_wrong_byte_is_never_taken_for_anothers(place, value):
    message = said("alice", 3)
    changed = bytearray(message)
    changed[place % len(message)] = value
    heard = listener().hears(bytes(changed))
    assert heard.newest("alice") == (3 if bytes(changed) == message else None)


@pytest.mark.parametrize("identities", [1_200, pytest.param(5_000, marks=pytest.mark.slow)])
def test_a_flood_of_fresh_identities_leaves_bounded_memory_and_the_friends_in_place(identities):
    heard = listener()
    heard.receiver.peers.merged(identity("alice").peer)
    heard.hears(said("alice", 1), said("alice", 1, Present({"ipfs": ("here",)})))
    for number in range(identities):
        name = f"sybil-{number}"
        bodies = (update(), update(b"other"), Present({"ipfs": ("there",)}), Leaving())
        heard.hears(*(said(name, 1, body) for body in bodies))
        identity.cache_clear()
    inbox, receiver = heard.receiver.inbox, heard.receiver
    assert len(inbox.known) <= CAPACITY
    assert len(inbox.marks) <= CAPACITY * MARKS_PER_PEER
    assert len(inbox.changed_marks) <= len(inbox.marks)
    assert len(receiver.peers) <= REMEMBERED
    assert len(receiver.proofs) <= PROOFS
    assert len(receiver._recent) <= RECENT
    assert heard.newest("alice") == 1
    assert receiver.hints(identity("alice").peer, "ipfs") == ("here",)


def test_where_a_peer_can_be_reached_is_forgotten_with_the_peer():
    heard = listener().hears(said("alice", 1, Present({"ipfs": ("here", "there")})))
    assert heard.receiver.hints(identity("alice").peer, "ipfs") == ("here", "there")
    assert heard.receiver.hints(identity("alice").peer, "directory") == ()
    heard.receiver.inbox.forget(identity("alice").peer)
    assert heard.receiver.hints(identity("alice").peer, "ipfs") == ()


def test_silent_strangers_give_way_to_new_ones_so_that_newcomers_are_heard_for_ever():
    heard = listener().hears(*(said(f"old-{number}", 1) for number in range(CAPACITY)), backlog=True)
    heard.hears(said("alice", 1))
    assert heard.newest("alice") == 1


# -- the own key -----------------------------------------------------------------------------------------------------------------


def test_backlog_under_the_own_key_raises_the_next_number():
    heard = listener().hears(said("me", 41), said("me", 7), backlog=True)
    assert heard.receiver.numbers.raised[AnnouncementKind.UPDATE] > 41 and not heard.receiver.numbers.elsewhere


def test_the_own_messages_coming_back_mean_nothing():
    heard = listener()
    heard.receiver.numbers.used[AnnouncementKind.UPDATE] = 3
    heard.hears(said("me", 3), said("me", 2))
    assert not heard.receiver.numbers.elsewhere and heard.receiver.numbers.raised == {}


def test_live_numbers_never_sent_under_the_own_key_say_that_this_identity_runs_elsewhere_once_they_go_beyond_a_raised_one():
    heard = listener()
    with capture_logs() as logs:
        assert not heard.hears(said("me", 1), said("me", 2)).receiver.numbers.elsewhere
        heard.hears(said("me", heard.receiver.numbers.raised[AnnouncementKind.UPDATE] + 1))
    assert heard.receiver.numbers.elsewhere
    assert [line["event"] for line in logs] == ["identity.raised", "identity.elsewhere"]


# -- equivocation ----------------------------------------------------------------------------------------------------------------


def test_two_payloads_under_one_number_refuse_the_peer_for_good_and_both_envelopes_are_kept():
    first, second = said("alice", 5), said("alice", 5, update(b"other"))
    heard = listener().hears(first, second, said("alice", 6))
    assert heard.newest("alice") is None
    assert heard.receiver.refusals == {"equivocation": 1, "refused-peer": 1}
    [proof] = heard.receiver.proofs
    assert (proof.peer, proof.kind, proof.number, proof.first, proof.second) == (
        identity("alice").peer,
        AnnouncementKind.UPDATE,
        5,
        first,
        second,
    )


def test_a_refused_peer_stays_refused_after_a_restart_and_the_proof_is_on_disk(tmp_path):
    history = History.open(tmp_path / "history.sqlite")
    heard = listener(history=history).hears(said("alice", 5), said("alice", 5, update(b"other")))
    learned = heard.receiver.take_learned()
    history.save_peers(learned.marks, learned.peers, learned.refusals, learned.proofs)
    again = History.open(tmp_path / "history.sqlite")
    assert [proof.number for proof in again.proofs()] == [5]
    assert again.counts() == {"equivocation": 1}
    assert listener(history=again).hears(said("alice", 6)).newest("alice") is None


def test_equivocation_is_seen_against_what_was_heard_before_a_restart(tmp_path):
    history = History.open(tmp_path / "history.sqlite")
    learned = listener(history=history).hears(said("alice", 5)).receiver.take_learned()
    history.save_peers(learned.marks, learned.peers, learned.refusals, learned.proofs)
    heard = listener(history=history).hears(said("alice", 5, update(b"other")))
    assert heard.receiver.refusals == {"equivocation": 1}


def test_the_same_message_after_a_restart_fills_the_empty_inbox(tmp_path):
    history = History.open(tmp_path / "history.sqlite")
    learned = listener(history=history).hears(said("alice", 5)).receiver.take_learned()
    history.save_peers(learned.marks, learned.peers, learned.refusals, learned.proofs)
    assert listener(history=history).hears(said("alice", 4), said("alice", 5), backlog=True).newest("alice") == 5


def test_what_could_not_be_saved_is_taken_again():
    heard = listener().hears(said("alice", 5), b"", said("bob", 1), said("bob", 1, update(b"other")))
    learned = heard.receiver.take_learned()
    assert heard.receiver.take_learned().refusals == {}
    heard.receiver.put_back(learned)
    assert heard.receiver.take_learned() == learned


# -- who is here -----------------------------------------------------------------------------------------------------------------


def test_a_peer_that_says_goodbye_leaves_its_update_to_newcomers():
    heard = listener().hears(said("alice", 5), said("alice", 6, Leaving()))
    entry = heard.receiver.inbox.get(identity("alice").peer, AnnouncementKind.UPDATE)
    assert entry is not None
    assert entry.backlog


def test_a_goodbye_of_an_earlier_run_hides_nobody_who_has_come_back():
    """Whoever has kept it may show it, live or as backlog, after each update."""
    heard = listener().hears(said("alice", 50), said("alice", 7, Leaving()))
    heard.hears(said("alice", 51), said("alice", 8, Leaving())).hears(said("alice", 9, Leaving()), backlog=True)
    entry = heard.receiver.inbox.get(identity("alice").peer, AnnouncementKind.UPDATE)
    assert entry is not None
    assert not entry.backlog
    assert heard.receiver.inbox.get(identity("alice").peer, AnnouncementKind.LEAVING) is None
    assert heard.changes == [("alice", "new")]
    assert heard.receiver.first_look(said("alice", 7, Leaving())).standing is Standing.UNWANTED


def test_what_was_heard_as_backlog_is_live_when_it_comes_live_and_signed():
    """A medium that lies passes it on as old news first."""
    message = said("alice", 5)
    heard = listener().hears(message, backlog=True)
    for copies, live in [([tampered(message)], False), ([message], True), ([message, message], True)]:
        heard.hears(*copies)
        entry = heard.receiver.inbox.get(identity("alice").peer, AnnouncementKind.UPDATE)
        assert entry is not None
        assert entry.backlog is not live
    assert heard.receiver.said(message) is not None
    assert heard.changes == [("alice", "new")]
    assert heard.receiver.refusals == {"signature": 1, "duplicate": 2}


def test_what_comes_live_behind_a_goodbye_stays_left_behind():
    messages = said("alice", 5), said("alice", 6, Leaving())
    for backlog in (False, True):
        heard = listener().hears(*messages, backlog=backlog).hears(*messages)
        entry = heard.receiver.inbox.get(identity("alice").peer, AnnouncementKind.UPDATE)
        assert entry is not None
        assert entry.backlog


def test_a_goodbye_from_the_backlog_is_old_news():
    heard = listener().hears(said("alice", 1, Leaving()), backlog=True).hears(said("alice", 5))
    entry = heard.receiver.inbox.get(identity("alice").peer, AnnouncementKind.UPDATE)
    assert entry is not None
    assert not entry.backlog


def test_watchers_are_told_who_comes_falls_silent_is_back_and_leaves():
    now = 0.0
    heard = listener(clock=lambda: now).hears(said("alice", 5))
    now = 5.0
    heard.hears(said("alice", 6))
    heard.receiver.round, now = 9, 44.0  # of its own rounds of 5 s not yet eight
    heard.receiver.note_silence(8)
    assert heard.changes == [("alice", "new")]
    now = 46.0
    heard.receiver.note_silence(8)
    heard.receiver.note_silence(8)
    heard.hears(said("alice", 7), said("alice", 8, Leaving()), said("alice", 9))
    states = [state for name, state in heard.changes if name == "alice"]
    assert states == ["new", "silent", "back", "left", "back"]


def test_a_peer_known_from_the_backlog_is_new_when_it_is_heard_live():
    """It may have left long ago: until then watchers would count it among those who are heard."""
    heard = listener().hears(said("alice", 5), said("bob", 5), said("bob", 6, Leaving()), backlog=True)
    heard.receiver.round = 50
    heard.receiver.note_silence(8)
    heard.receiver.forget(identity("bob").peer)
    assert heard.changes == []
    heard.hears(said("alice", 6))
    assert heard.changes == [("alice", "new")]


def test_an_honest_message_between_garbage_is_heard():
    heard = listener().hears(b"\x01", said("alice", 1), bytes(2000), said("bob", 2), tampered(said("carol", 3)))
    assert (heard.newest("alice"), heard.newest("bob"), heard.newest("carol")) == (1, 2, None)


def test_an_unknown_peer_costs_no_record():
    heard = listener().hears(*(said(name, 1) for name in ("alice", "bob", "carol")))
    assert heard.receiver.peers.get(PeerId("0" * 64)).failures == 0
    assert len(heard.receiver.peers) == 0


def test_a_first_look_tells_what_a_message_is_worth_and_changes_nothing() -> None:
    heard, alice = listener(deny=["carol"]), identity("alice").peer
    look = heard.receiver.first_look
    assert look(said("alice", 3)) == look(tampered(said("alice", 3))) == FirstLook(Standing.STRANGER, alice)
    heard.receiver.peers.merged(alice)
    assert look(said("alice", 3)) == FirstLook(Standing.ACCEPTED, alice)
    assert look(said("carol", 3)) == FirstLook(Standing.UNWANTED, identity("carol").peer)
    assert look(said("alice", 3, swarm=swarm_id("another"))).standing is Standing.FOREIGN
    assert look(b"\x02" + said("alice", 3)[1:]).standing is Standing.UNWANTED, "a peer of a newer version may pass it on"
    assert heard.receiver.refusals == {} and heard.newest("alice") is None


def test_what_was_overtaken_is_not_worth_passing_on_and_the_newest_is() -> None:
    heard = listener().hears(said("alice", 1 << 40))
    look = heard.receiver.first_look
    assert [look(said("alice", number)).standing for number in (0, 23, 24, 255, 256, 65_536, (1 << 40) - 1)] == [Standing.UNWANTED] * 7
    assert [look(said("alice", number)).standing for number in (1 << 40, (1 << 40) + 1)] == [Standing.STRANGER] * 2
    assert look(said("alice", 1, Present())).standing is Standing.STRANGER, "of another kind"


@given(st.binary(max_size=ENVELOPE_BYTES + 10) | st.binary(max_size=60).map(lambda tail: said("alice", 3)[:-1] + tail))
def test_a_first_look_at_any_bytes_tells_something(message: bytes) -> None:
    assert listener().receiver.first_look(message).standing in Standing
