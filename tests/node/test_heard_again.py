"""What is said a second time on the same medium: somebody has made it available where its peer does not store."""

from __future__ import annotations

import hashlib
from functools import cache

import attrs
import pytest

from learnae.content.cids import raw_cid
from learnae.identity.envelopes import encode_envelope
from learnae.identity.keys import Admission, Identity
from learnae.identity.swarms import swarm_id
from learnae.node.attempts import FetchAttempts
from learnae.node.inbox import Inbox
from learnae.node.peers import Peers
from learnae.node.receive import Receiver
from learnae.records import Announcement, AnnouncementKind, Heard
from learnae.testing.context import make_runtime
from tests.support.records import an_update

SWARM = swarm_id("ours")


@cache
def identity(name: str) -> Identity:
    return Identity.generate(hashlib.sha256(name.encode()).digest())


def said(name: str, number: int) -> bytes:
    body = an_update(raw_cid(b"root"))
    return encode_envelope(identity(name), Announcement(swarm=SWARM, peer=identity(name).peer, number=number, body=body))


@attrs.frozen
class Hearing:
    """What the node does with each message that comes."""

    receiver: Receiver
    attempts: FetchAttempts

    def hear(self, heard: Heard, medium: str = "") -> bool:
        news = self.receiver.hear(heard, medium)
        if (entry := self.receiver.said(heard.message)) and not (news or heard.backlog):
            self.attempts.hear_once_more(entry, medium)
        return news

    def repeated(self, name: str) -> int | None:
        """The number of what is tried where nothing could be had of the newest, if there is such."""
        newest = self.receiver.inbox.get(identity(name).peer, AnnouncementKind.UPDATE)
        assert newest is not None
        self.attempts.tried(newest, 1, there=False)
        other = self.attempts.to_try(newest, 1, lambda entry, round_: True)
        return None if other is newest else other.announcement.number


@pytest.fixture
def hearing() -> Hearing:
    """Of a peer that denies eve."""
    peers = Peers(50)
    inbox = Inbox(16, peers.trusts)
    receiver = Receiver(
        own=identity("me").peer,
        swarm=SWARM,
        admission=Admission(deny=[identity("eve").peer]),
        inbox=inbox,
        peers=peers,
        runtime=make_runtime(),
        on_change=lambda peer, state: None,
    )
    return Hearing(receiver, FetchAttempts(inbox, peers))


def test_what_is_said_a_second_time_on_the_medium_where_it_was_heard_is_noted(hearing: Hearing) -> None:
    for message, medium in [(said("alice", 1), "one"), (said("alice", 2), "one"), (said("alice", 1), "two")]:
        hearing.hear(Heard(message), medium)
    assert hearing.repeated("alice") is None
    hearing.hear(Heard(said("alice", 1)), "one")
    assert hearing.repeated("alice") == 1
    hearing.hear(Heard(said("alice", 2)), "one")
    assert hearing.repeated("alice") == 2


def test_a_replay_of_what_was_never_heard_live_counts_for_nothing(hearing: Hearing) -> None:
    hearing.hear(Heard(said("alice", 1), backlog=True))
    for number in (9, 1, 2, 1, 2):
        hearing.hear(Heard(said("alice", number)))
    assert hearing.repeated("alice") is None
    assert hearing.receiver.refusals == {"replay": 4}


def test_what_a_later_look_brings_is_not_said_again(hearing: Hearing) -> None:
    for backlog in (False, True, True):
        hearing.hear(Heard(said("alice", 1), backlog=backlog), "one")
    assert hearing.repeated("alice") is None


def test_of_what_is_said_again_the_newest_is_noted(hearing: Hearing) -> None:
    for number in (1, 2, 2, 1):
        hearing.hear(Heard(said("alice", number)), "one")
    assert hearing.repeated("alice") == 2


def test_only_what_was_taken_live_from_somebody_else_is_known_by_its_message(hearing: Hearing) -> None:
    hearing.hear(Heard(said("bob", 1), backlog=True))
    taken = [hearing.hear(Heard(message)) for message in (said("alice", 1), said("alice", 1), said("eve", 1), said("me", 1), b"noise")]
    assert taken == [True, False, False, True, False]
    assert [hearing.receiver.said(message) for message in (said("bob", 1), said("eve", 1), said("me", 1), b"noise")] == [None] * 4
    assert hearing.receiver.said(said("alice", 1)) is hearing.receiver.inbox.get(identity("alice").peer, AnnouncementKind.UPDATE)


def to_adopt(hearing: Hearing, *, there: bool) -> int:
    """The number of the model that is tried, after one more try of it."""
    newest = hearing.receiver.inbox.get(identity("alice").peer, AnnouncementKind.UPDATE)
    assert newest is not None
    chosen = hearing.attempts.to_adopt(newest)
    hearing.attempts.tried(chosen, 1, there=there)
    if not there:
        hearing.attempts.failed(chosen)
    return chosen.announcement.number


def test_a_newcomer_tries_what_was_left_behind_before_the_newest_only_after_that(hearing: Hearing) -> None:
    for number in (7, 5):
        assert hearing.hear(Heard(said("alice", number), backlog=True))
    assert [to_adopt(hearing, there=False) for _ in range(5)] == [7, 5, 7, 5, 7]
    assert hearing.receiver.peers.get(identity("alice").peer).failures == 3
    hearing.hear(Heard(said("alice", 8)))
    assert [to_adopt(hearing, there=False) for _ in range(2)] == [8, 8]


def test_where_the_newest_comes_nothing_older_is_tried(hearing: Hearing) -> None:
    for number in (5, 7):
        hearing.hear(Heard(said("alice", number), backlog=True))
    assert [to_adopt(hearing, there=True) for _ in range(3)] == [7, 7, 7]


def test_an_older_update_is_no_news_that_is_passed_on(hearing: Hearing) -> None:
    hearing.hear(Heard(said("alice", 7), backlog=True))
    hearing.hear(Heard(said("alice", 5)))
    assert hearing.receiver.said(said("alice", 5)) is None
    assert hearing.repeated("alice") is None
