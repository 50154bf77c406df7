"""Who has written down what others have said cannot have members carry it again and again, of whatever kind."""

from __future__ import annotations

import pytest

from learnae.content.cids import raw_cid
from learnae.identity.envelopes import encode_envelope
from learnae.identity.keys import Admission, Identity
from learnae.identity.swarms import swarm_id
from learnae.node.inbox import Inbox
from learnae.node.peers import Peers
from learnae.node.receive import PASSED_ON_SECONDS, Receiver
from learnae.records import Announcement, Body, Heard, PeerId, Sample, Slice, Standing
from learnae.testing.context import make_runtime

SWARM = swarm_id("hostile")
GIVER = Identity.generate(b"g" * 32)
SKIPPED, NEWEST = 7, 40


def said(kind: type[Body], number: int) -> bytes:
    body = Sample(bytes([number])) if kind is Sample else Slice(root=raw_cid(bytes([number])), bytes=100, schema=b"schema-1", rows=3)
    return encode_envelope(GIVER, Announcement(swarm=SWARM, peer=GIVER.peer, number=number, body=body))


@pytest.mark.parametrize("kind", [Slice, Sample])
def test_offers_and_readings_that_were_heard_are_passed_on_for_a_while_and_then_no_more(kind: type[Body]) -> None:
    now = [0.0]
    inbox, peers = Inbox(10, lambda peer: False), Peers(capacity=10)
    receiver = Receiver(PeerId("0" * 64), SWARM, Admission(), inbox, peers, make_runtime(clock=lambda: now[0]), lambda peer, change: None)
    messages = [said(kind, number) for number in range(NEWEST + 1)]
    for number, message in enumerate(messages):
        if number != SKIPPED:
            receiver.hear(Heard(message, backlog=False), "libp2p")
    assert {receiver.first_look(message).standing for message in messages} == {Standing.STRANGER}
    now[0] += PASSED_ON_SECONDS + 1
    standings = [receiver.first_look(message).standing for message in messages]
    assert [number for number, standing in enumerate(standings) if standing is not Standing.UNWANTED] == [SKIPPED, NEWEST]
