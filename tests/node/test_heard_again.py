"""What is said a second time on the same medium: somebody has made it available where its peer does not store."""

from __future__ import annotations

import hashlib
from functools import cache

import pytest

from learnae.content.cids import raw_cid
from learnae.identity.envelopes import encode_envelope
from learnae.identity.keys import Admission, Identity
from learnae.identity.swarms import swarm_id
from learnae.node.inbox import Inbox
from learnae.node.peers import Peers
from learnae.node.receive import Receiver
from learnae.records import Announcement, Heard, Kind
from learnae.testing.context import make_runtime
from tests.support.records import an_update

SWARM = swarm_id("ours")


@cache
def identity(name: str) -> Identity:
    return Identity.generate(hashlib.sha256(name.encode()).digest())


def said(name: str, number: int) -> bytes:
    body = an_update(raw_cid(b"root"))
    return encode_envelope(identity(name), Announcement(swarm=SWARM, peer=identity(name).peer, number=number, body=body))


@pytest.fixture
def receiver() -> Receiver:
    """Of a peer that denies eve."""
    peers = Peers(50)
    return Receiver(
        own=identity("me").peer,
        swarm=SWARM,
        admission=Admission(deny=[identity("eve").peer]),
        inbox=Inbox(16, peers.trusts),
        peers=peers,
        runtime=make_runtime(),
        on_change=lambda peer, state: None,
    )


def again(receiver: Receiver, name: str) -> int | None:
    entry = receiver.inbox.known[identity(name).peer].again
    return entry.announcement.number if entry else None


def test_what_is_said_a_second_time_on_the_medium_where_it_was_heard_is_noted(receiver: Receiver) -> None:
    for message, medium in [(said("alice", 1), "one"), (said("alice", 2), "one"), (said("alice", 1), "two")]:
        receiver.hear(Heard(message), medium)
    assert again(receiver, "alice") is None
    receiver.hear(Heard(said("alice", 1)), "one")
    assert again(receiver, "alice") == 1
    receiver.hear(Heard(said("alice", 2)), "one")
    assert again(receiver, "alice") == 2


def test_a_replay_of_what_was_never_heard_live_counts_for_nothing(receiver: Receiver) -> None:
    receiver.hear(Heard(said("alice", 1), backlog=True))
    for number in (9, 1, 2, 1, 2):
        receiver.hear(Heard(said("alice", number)))
    assert again(receiver, "alice") is None
    assert receiver.refusals == {"replay": 4}


def test_what_a_later_look_brings_is_not_said_again(receiver: Receiver) -> None:
    for backlog in (False, True, True):
        receiver.hear(Heard(said("alice", 1), backlog=backlog), "one")
    assert again(receiver, "alice") is None


def test_of_what_is_said_again_the_newest_is_noted(receiver: Receiver) -> None:
    for number in (1, 2, 2, 1):
        receiver.hear(Heard(said("alice", number)), "one")
    assert again(receiver, "alice") == 2


def test_only_what_was_taken_live_from_somebody_else_is_known_by_its_message(receiver: Receiver) -> None:
    receiver.hear(Heard(said("bob", 1), backlog=True))
    taken = [receiver.hear(Heard(message)) for message in (said("alice", 1), said("alice", 1), said("eve", 1), said("me", 1), b"noise")]
    assert taken == [True, False, False, True, False]
    assert [receiver.said(message) for message in (said("bob", 1), said("eve", 1), said("me", 1), b"noise")] == [None] * 4
    assert receiver.said(said("alice", 1)) is receiver.inbox.get(identity("alice").peer, Kind.UPDATE)
