"""Lists in messages of gossipsub: counted before they are read, and cut before the library goes through them."""

from __future__ import annotations

import random

import pytest

from tests.support.libp2p_peers import NEEDS_LIBP2P

pytest.importorskip("libp2p", reason=NEEDS_LIBP2P)

from libp2p.pubsub.pb import rpc_pb2

from learnae_libp2p.gossip import RPC_BYTES
from learnae_libp2p.messages import topic_of
from learnae_libp2p.rpc_limits import CONTROL_ENTRIES, MESSAGE_IDS, TooManyEntriesError, count_entries, is_topic, trim_control

TOPIC = topic_of("c")
ID = b"ab" * 46
EMPTY = bytes([2])


def field(number: int, body: bytes) -> bytes:
    size, count = bytearray(), len(body)
    while count > 0x7F:
        size.append(count & 0x7F | 0x80)
        count >>= 7
    return bytes([number << 3 | 2, *size, count]) + body


def control(body: bytes) -> bytes:
    return field(3, body)


MANY = 40_000
LISTS = {
    "subscriptions": field(1, b"") * MANY,
    "messages": field(2, b"") * MANY,
    "controls": control(b"") * MANY,
    "what nobody knows": field(15, b"") * MANY,
    "numbers that nobody knows": bytes([15 << 3, 0]) * MANY,
    **{f"entries of kind {kind}": control(field(kind, b"") * MANY) for kind in range(1, 9)},
    **{f"names in an entry of kind {kind}": control(field(kind, field(1, b"") * MANY)) for kind in range(1, 6)},
    "peers in a prune": control(field(4, field(2, b"") * MANY)),
    "a number without an end": b"\xff" * 1000,
}


@pytest.mark.parametrize("wire", LISTS.values(), ids=LISTS)
def test_a_message_of_very_many_entries_is_refused_before_it_is_read(wire: bytes) -> None:
    with pytest.raises(TooManyEntriesError):
        count_entries(wire)


def test_what_honest_peers_send_is_counted_and_read() -> None:
    rpc = rpc_pb2.RPC()
    for number in range(150):
        rpc.subscriptions.add(subscribe=True, topicid=topic_of(str(number)))
        rpc.publish.add(from_id=b"f" * 38, data=b"d" * 100, seqno=bytes(8), topicIDs=[TOPIC], signature=bytes(64), key=bytes(36))
        rpc.control.graft.add(topicID=TOPIC)
    rpc.control.ihave.add(topicID=TOPIC, messageIDs=[ID] * 200)
    rpc.control.iwant.add(messageIDs=[ID] * 200)
    wire = rpc.SerializeToString()
    assert len(wire) <= RPC_BYTES
    assert 1000 < count_entries(wire) <= 1010


def test_bytes_of_any_kind_are_counted_or_refused() -> None:
    chance = random.Random(1)
    for _ in range(2_000):
        wire = chance.randbytes(chance.randrange(200))
        try:
            assert count_entries(wire) <= 256 + 200 // 32
        except TooManyEntriesError:
            continue


@pytest.mark.parametrize("kind", ["ihave", "iwant"])
@pytest.mark.parametrize("entries", [1, 40])
def test_ids_are_taken_once_each_and_not_very_many(kind: str, entries: int) -> None:
    rpc = rpc_pb2.RPC()
    for entry in range(entries):
        numbers = range(entry * 50, entry * 50 + 3000)
        added = getattr(rpc.control, kind).add(messageIDs=[ID, *(b"%092x" % (number % 3000) for number in numbers)])
        if kind == "ihave":
            added.topicID = TOPIC
    trim_control(rpc.control, {TOPIC})
    left = getattr(rpc.control, kind)
    names = [name for entry in left for name in entry.messageIDs]
    assert len(left) <= CONTROL_ENTRIES
    assert len(names) == len(set(names)) == MESSAGE_IDS
    assert names.count(ID) == 1


def test_nothing_is_left_of_what_is_not_used() -> None:
    rpc = rpc_pb2.RPC()
    rpc.control.ihave.add(topicID="another", messageIDs=[ID])
    rpc.control.graft.add(topicID="another")
    rpc.control.prune.add(topicID=TOPIC).peers.add(peerID=b"x")
    rpc.control.idontwant.add(messageIDs=[b"x"])
    trim_control(rpc.control, {TOPIC})
    assert not rpc.control.ihave
    assert not rpc.control.graft
    assert not rpc.control.prune[0].peers
    assert not rpc.control.idontwant


@pytest.mark.parametrize("text", ["", "t", "x\x1b[2J\n", TOPIC + "\n", TOPIC[:-1], TOPIC.upper(), "a" * 75])
def test_only_topics_of_our_form_are_remembered(text: str) -> None:
    assert is_topic(TOPIC)
    assert not is_topic(text)
