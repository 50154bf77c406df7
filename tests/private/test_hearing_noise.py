"""Messages that do not open: counted, and told of at the first, the tenth, the hundredth, ..."""

from __future__ import annotations

from structlog.testing import capture_logs

from learnae.identity.envelopes import encode_envelope
from learnae.identity.keys import Admission, Identity
from learnae.identity.swarms import SwarmIdentity, SwarmKey
from learnae.node.inbox import Inbox
from learnae.node.peers import Peers
from learnae.node.receive import Receiver
from learnae.records import Announcement, FirstLook, Heard, Present, Standing
from learnae.testing.context import make_runtime

SWARM = SwarmIdentity("digits", SwarmKey(bytes(range(32))))
ALICE = Identity.generate(b"a" * 32)


def listener() -> Receiver:
    peers = Peers(50, {})
    return Receiver(
        own=Identity.generate(b"m" * 32).peer,
        swarm=SWARM.id,
        encryption=SWARM.messages,
        admission=Admission(),
        inbox=Inbox(16, peers.trusts),
        peers=peers,
        runtime=make_runtime(),
        on_change=lambda peer, state: None,
    )


def test_the_log_tells_of_the_first_message_without_a_seal_and_then_ever_less_often() -> None:
    receiver = listener()
    with capture_logs() as logs:
        for number in range(2_345):
            receiver.hear(Heard(number.to_bytes(40, "big"), backlog=False))
            if number % 7 == 0:
                receiver.take_learned()  # saving the counts does not make the log begin anew
    told = [(line["log_level"], line["event"], line["reason"], line["count"]) for line in logs]
    assert told == [("warning", "messages.refused", "seal", count) for count in (1, 10, 100, 1000)]


def test_every_reason_is_counted_and_told_by_itself() -> None:
    receiver = listener()
    good = encode_envelope(ALICE, Announcement(swarm=SWARM.id, peer=ALICE.peer, number=1, body=Present()), encryption=SWARM.messages)
    with capture_logs() as logs:
        for message in (b"noise", good, bytes(2000), good, good[:-1]):
            receiver.hear(Heard(message, backlog=False))
    assert receiver.refusals == {"seal": 2, "oversized": 1, "duplicate": 1}
    assert [(line["log_level"], line["reason"]) for line in logs] == [("warning", "seal"), ("warning", "oversized"), ("info", "duplicate")]


def test_noise_is_not_kept_and_does_not_drive_out_what_was_verified() -> None:
    receiver = listener()
    good = encode_envelope(ALICE, Announcement(swarm=SWARM.id, peer=ALICE.peer, number=1, body=Present()), encryption=SWARM.messages)
    receiver.hear(Heard(good, backlog=False))
    for number in range(3_000):
        receiver.hear(Heard(number.to_bytes(40, "big"), backlog=False))
    assert list(receiver._recent) == [good]
    assert list(receiver.inbox.known) == [ALICE.peer]


def test_a_first_look_tells_who_has_the_key_of_the_swarm() -> None:
    receiver = listener()
    plain = encode_envelope(ALICE, Announcement(swarm=SWARM.id, peer=ALICE.peer, number=1, body=Present()))
    sealed = encode_envelope(ALICE, Announcement(swarm=SWARM.id, peer=ALICE.peer, number=1, body=Present()), encryption=SWARM.messages)
    assert receiver.first_look(sealed) == FirstLook(Standing.MEMBER, ALICE.peer)
    assert receiver.first_look(plain) == receiver.first_look(sealed[:-1]) == FirstLook(Standing.FOREIGN)
