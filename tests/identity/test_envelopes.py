from __future__ import annotations

import hashlib
import math
from typing import Any

import attrs
import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from learnae.content.cids import cid_bytes, dag_cid
from learnae.errors import UpdateRejectedError
from learnae.identity.envelopes import ENVELOPE_BYTES, MAX_SEQUENCE_NUMBER, SAMPLE_BYTES, OpenedEnvelope, decode_envelope, encode_envelope
from learnae.identity.keys import Identity
from learnae.records import Announcement, Body, Leaving, Present, Sample, Slice, Update

SWARM = bytes(range(16))
ANN, BEN = Identity.generate(b"a" * 32), Identity.generate(b"b" * 32)
ROOT = dag_cid(b"root")
UPDATE = Update(
    root=ROOT,
    bytes=139_265,
    lineage=b"lineage1",
    architecture=b"signatur",
    age=1200,
    provisional=False,
    own_steps=700,
    samples=179_200,
    step_seconds=0.0015,
    codec="int8",
    base=dag_cid(b"base"),
    loss=0.25,
    sketch=bytes(range(200)) * 2,
)
PAYLOAD: dict[Any, Any] = {
    0: SWARM, 1: 1, 2: 7, 8: cid_bytes(ROOT), 9: 139_265, 10: b"lineage1", 11: b"signatur", 12: 1200, 13: False, 14: 700, 15: 179_200,
    16: 0.0015, 17: "int8", 18: cid_bytes(dag_cid(b"base")), 19: 0.25, 20: bytes(range(200)) * 2,
}  # fmt: skip

counts = st.integers(0, 2**63 - 1)
octets = st.binary(max_size=400)
reals = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=10)
cids = st.binary(max_size=4).map(dag_cid)
eight = st.binary(min_size=8, max_size=8)
bodies = st.one_of(
    st.builds(
        Update, root=cids, bytes=counts, lineage=eight, architecture=eight, age=counts, provisional=st.booleans(), own_steps=counts,
        samples=counts, step_seconds=reals.map(abs), codec=words, base=st.none() | cids, loss=st.none() | reals, sketch=octets,
    ),
    st.builds(Slice, root=cids, bytes=counts, schema=eight, rows=counts, labels=st.dictionaries(words, counts, max_size=8), sketch=octets),
    st.builds(Sample, payload=octets),
    st.builds(
        Present,
        hints=st.dictionaries(words, st.lists(words, max_size=3).map(tuple), max_size=3),
        role=words,
        versions=st.lists(st.integers(0, 255), max_size=8).map(tuple),
        contributions=st.none() | cids,
    ),
    st.builds(Leaving),
)  # fmt: skip


def announcement(body: Body = UPDATE, number: int = 7) -> Announcement:
    return Announcement(swarm=SWARM, peer=ANN.peer, number=number, body=body)


def opened(body: Body) -> Body:
    return decode_envelope(encode_envelope(ANN, announcement(body)), SWARM).announcement.body


def envelope(payload: bytes, signer: Identity = ANN, version: int = 1) -> bytes:
    return bytes([version]) + bytes.fromhex(signer.peer) + signer.sign(b"learnae/announcement/1" + payload) + payload


def with_fields(fields: dict[Any, Any]) -> bytes:
    return envelope(cbor2.dumps(fields, canonical=True))


def reason(data: bytes, swarm: bytes = SWARM) -> str:
    with pytest.raises(UpdateRejectedError) as rejected:
        decode_envelope(data, swarm)
    return rejected.value.reason


@given(bodies, st.integers(0, MAX_SEQUENCE_NUMBER))
def test_an_announcement_survives_the_way_to_the_wire_and_back(body: Body, number: int) -> None:
    sent = announcement(body, number)
    message = encode_envelope(ANN, sent)
    assert len(message) <= ENVELOPE_BYTES
    assert decode_envelope(message, SWARM) == OpenedEnvelope(sent, hashlib.sha256(message[97:]).digest())


def test_an_envelope_is_the_documented_one() -> None:
    assert encode_envelope(ANN, announcement()) == with_fields(PAYLOAD)


def test_a_full_update_takes_well_under_a_transaction() -> None:
    assert len(encode_envelope(ANN, announcement())) < 750


def test_what_has_its_default_is_left_out() -> None:
    plain = attrs.evolve(UPDATE, base=None, loss=None, sketch=b"")
    assert encode_envelope(ANN, announcement(plain)) == with_fields({key: PAYLOAD[key] for key in PAYLOAD if key < 18})


def test_a_loss_of_zero_is_sent_and_one_that_is_not_finite_is_not() -> None:
    assert opened(attrs.evolve(UPDATE, loss=0.0)) == attrs.evolve(UPDATE, loss=0.0)
    for loss in (math.nan, math.inf, -math.inf):
        assert opened(attrs.evolve(UPDATE, loss=loss)) == attrs.evolve(UPDATE, loss=None)


def test_an_update_that_is_too_large_goes_without_its_sketch() -> None:
    size = len(encode_envelope(ANN, announcement()))
    for limit, body in ((size, UPDATE), (size - 1, attrs.evolve(UPDATE, sketch=b""))):
        assert decode_envelope(encode_envelope(ANN, announcement(), limit), SWARM).announcement.body == body


def test_a_slice_that_is_too_large_goes_without_its_sketch_or_its_labels() -> None:
    long, short = {f"{index:064}": index for index in range(10)}, {str(index): index for index in range(10)}
    whole = Slice(root=ROOT, bytes=1, schema=b"schema12", rows=1, sketch=bytes(384))
    assert opened(attrs.evolve(whole, labels=short)) == attrs.evolve(whole, labels=short)
    assert opened(attrs.evolve(whole, labels=long)) == attrs.evolve(whole, labels=long, sketch=b"")
    assert opened(attrs.evolve(whole, labels={**long, **{f"{index:063}": 1 for index in range(10)}})) == whole


def test_a_present_gives_up_its_view_of_contributions_before_any_hint() -> None:
    four = tuple(f"ipfs{index}".ljust(200, "x") for index in range(4))
    longer = ({"ipfs": (*four, "y" * length)} for length in range(1, 200))
    sent = ((hints, opened(Present(hints, contributions=ROOT))) for hints in longer)
    hints, first = next((hints, body) for hints, body in sent if body != Present(hints, contributions=ROOT))
    assert first == Present(hints)


def test_a_present_that_is_too_large_goes_with_the_first_hints_of_each_storage() -> None:
    hints = {"ipfs": tuple(f"ipfs{index}".ljust(200, "x") for index in range(8)), "libp2p": ("libp2p".ljust(200, "x"),)}
    sent = opened(Present(hints))
    assert sent == Present({"ipfs": hints["ipfs"][:3], "libp2p": hints["libp2p"]})


@pytest.mark.parametrize(
    "body",
    [
        Slice(root=ROOT, bytes=1, schema=b"schema", rows=1, labels={str(index): index for index in range(65)}),
        Sample(bytes(SAMPLE_BYTES + 1)),
        attrs.evolve(UPDATE, sketch=bytes(401)),
        attrs.evolve(UPDATE, age=-1),
        attrs.evolve(UPDATE, step_seconds=math.nan),
        attrs.evolve(UPDATE, codec="x" * 65),
        attrs.evolve(UPDATE, root="bafy"),
        Present({"ipfs": ("x",) * 9}),
        Present({"ipfs": ("x" * 201,)}),
    ],
)
def test_what_others_would_refuse_is_an_error_on_the_sending_side(body: Body) -> None:
    with pytest.raises(ValueError, match=r"others would refuse this announcement|does not fit into 1090 bytes"):
        encode_envelope(ANN, announcement(body))


def test_an_update_that_is_too_large_without_its_sketch_is_an_error() -> None:
    with pytest.raises(ValueError, match="of kind UPDATE does not fit into 200 bytes"):
        encode_envelope(ANN, announcement(), limit=200)


def test_unknown_keys_are_ignored_but_signed() -> None:
    later = with_fields({**PAYLOAD, 3: "new", 99: [1, {"deep": b"er"}], -5: None})
    assert decode_envelope(later, SWARM).announcement == announcement()
    changed = later.replace(b"new", b"old")
    assert reason(changed) == "signature"


def test_each_refusal_has_its_reason() -> None:
    good = encode_envelope(ANN, announcement())
    assert reason(good + bytes(ENVELOPE_BYTES)) == "oversized"
    assert reason(b"") == reason(good[:97]) == reason(good[:200]) == "malformed"
    assert reason(envelope(good[97:], version=2)) == reason(envelope(good[97:], version=0)) == "version"
    assert reason(good, bytes(16)) == "foreign"
    assert reason(with_fields({**PAYLOAD, 1: 6})) == reason(with_fields({**PAYLOAD, 1: 0})) == "unknown-kind"
    assert reason(with_fields({**PAYLOAD, 8: b"\0" * 36})) == "cid"
    assert reason(good[:-1] + bytes([good[-1] ^ 1])) == "signature"


def test_cheap_checks_come_before_the_signature() -> None:
    unsigned = bytes(64)
    payload = cbor2.dumps(PAYLOAD, canonical=True)
    head = b"\x01" + bytes.fromhex(ANN.peer) + unsigned
    assert reason(head + payload) == "signature"
    assert reason(head + payload, bytes(16)) == "foreign"
    assert reason(head + cbor2.dumps({**PAYLOAD, 1: 6}, canonical=True)) == "unknown-kind"
    assert reason(head + b"\xff") == "malformed"


def test_nobody_can_speak_for_another() -> None:
    good = encode_envelope(ANN, announcement())
    assert reason(good[:1] + bytes.fromhex(BEN.peer) + good[33:]) == "signature"
    assert decode_envelope(envelope(good[97:], BEN), SWARM).announcement.peer == BEN.peer


@pytest.mark.parametrize(
    "fields",
    [
        *({key: value for key, value in PAYLOAD.items() if key != missing} for missing in PAYLOAD if missing < 18),
        *({**PAYLOAD, key: None} for key in PAYLOAD),
        *({**PAYLOAD, key: []} for key in PAYLOAD),
        *({**PAYLOAD, key: -1} for key in PAYLOAD),
        *({**PAYLOAD, key: 1 << 63} for key in PAYLOAD if key != 1),
        *({**PAYLOAD, key: math.nan} for key in PAYLOAD),
        *({**PAYLOAD, key: math.inf} for key in PAYLOAD),
        *({**PAYLOAD, key: True} for key in PAYLOAD if key != 13),
        {**PAYLOAD, 10: b"seven77"},
        {**PAYLOAD, 16: 1},
        {**PAYLOAD, 16: -0.5},
        {**PAYLOAD, 17: "\x1b[2Jcleared"},
        {**PAYLOAD, 20: bytes(401)},
        {**PAYLOAD, "text": 1},
        {**PAYLOAD, 99.0: 1},
        {0: SWARM, 1: 4, 2: 1, 8: {"ipfs": ["x"] * 9}, 9: "trainer", 10: [1]},
        {0: SWARM, 1: 4, 2: 1, 8: {"ipfs": ["x" * 201]}, 9: "trainer", 10: [1]},
        {0: SWARM, 1: 4, 2: 1, 8: {str(index): [] for index in range(9)}, 9: "trainer", 10: [1]},
        {0: SWARM, 1: 4, 2: 1, 8: {b"ipfs": ["x"]}, 9: "trainer", 10: [1]},
        {0: SWARM, 1: 4, 2: 1, 9: "trainer", 10: [256]},
        {0: SWARM, 1: 2, 2: 1, 8: cid_bytes(ROOT), 9: 1, 10: b"", 11: 1},
        {0: SWARM, 1: 2, 2: 1, 8: cid_bytes(ROOT), 9: 1, 10: b"s", 11: 1, 12: {"zero": -1}},
    ],
)  # fmt: skip
def test_every_field_is_checked(fields: dict[Any, Any]) -> None:
    assert reason(with_fields(fields)) == "malformed"


@pytest.mark.parametrize(
    "value",
    [
        b"\xc0\x74" + b"2013-03-21T20:04:00Z",  # a date
        b"\xc2\x58\x40" + b"\xff" * 64,  # a big number
        b"\xc5\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x03",  # 3 * 2**(2**63 - 1)
        b"\xd8\x23\x68(a+)+$$$",  # a regular expression
        b"\xd8\x24\x61a",  # a mail
        b"\xd8\x1c\x81\xd8\x1d\x00",  # a list that holds itself
        b"\xd8\x1c\x01",  # marked as shared
        b"\xd9\x01\x00\x81\x01",  # a namespace of strings
        b"\xd9\x01\x02\x82\x01\x02",  # a set
        b"\xd9\xd9\xf7\x01",  # "this is CBOR"
        b"\xd9\xff\xff\x01",  # a tag that nobody knows
        b"\x81" * 9 + b"\x01",  # deep
        b"\x81" * 900 + b"\x01",
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",  # long
        b"\x9b\x00\x00\x00\x00\x7f\xff\xff\xff",
        b"\xbb\x00\x00\x00\x00\x7f\xff\xff\xff",
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x7b\x00\x00\x00\x10\x7f\xff\xff\xff",
        b"\x9f\x01\xff",  # of unknown length
        b"\x5f\x41a\xff",
        b"\x61\xff",  # not UTF-8
        b"\x18\x01",  # not the shortest
        b"\xa2\x01\x01\x01\x02",  # a key twice
        b"\xa2\x02\x01\x01\x02",  # not sorted
        b"\xff",
        b"",
        b"\x01\x01",  # something behind the end
    ],
)
def test_cbor_that_does_more_than_hold_plain_values_is_malformed(value: bytes) -> None:
    leaving = b"\xa4" + b"\x00\x50" + SWARM + b"\x01\x05" + b"\x02\x07" + b"\x18\x63"  # and an unknown key, whose value is to come
    assert decode_envelope(envelope(leaving + b"\x01"), SWARM).announcement == announcement(Leaving())
    assert reason(envelope(leaving + value)) == reason(envelope(value)) == "malformed"


@given(st.binary(max_size=1200))
@example(b"\x01" + bytes(96) + b"\xa0")
def test_garbage_is_only_ever_rejected(data: bytes) -> None:
    reason(data)


@given(st.binary(max_size=900))
def test_signed_garbage_is_only_ever_rejected(payload: bytes) -> None:
    reason(envelope(payload))


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats() | st.binary(max_size=40) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 99) | st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@given(st.integers(1, 5), st.dictionaries(st.integers(2, 24), plain, max_size=8), st.data())
def test_signed_fields_of_any_type_are_taken_or_rejected(kind: int, changes: dict[int, Any], data: st.DataObject) -> None:
    fields = {**PAYLOAD, 1: kind, **changes}
    for key in data.draw(st.sets(st.sampled_from(sorted(fields)), max_size=3)):
        del fields[key]
    message = with_fields(fields)
    try:
        result = decode_envelope(message, SWARM)
    except UpdateRejectedError:
        return
    assert decode_envelope(encode_envelope(ANN, result.announcement), SWARM).announcement == result.announcement


@given(bodies, st.data())
def test_a_changed_message_is_only_ever_rejected(body: Body, data: st.DataObject) -> None:
    message = bytearray(encode_envelope(ANN, announcement(body)))
    message[data.draw(st.integers(0, len(message) - 1))] ^= data.draw(st.integers(1, 255))
    reason(bytes(message))


@given(bodies, st.data())
def test_a_cut_message_is_only_ever_rejected(body: Body, data: st.DataObject) -> None:
    message = encode_envelope(ANN, announcement(body))
    reason(message[: data.draw(st.integers(0, len(message) - 1))])
