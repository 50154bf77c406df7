from __future__ import annotations

from typing import Any

import libipld
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from learnae.content.cids import cid_bytes, dag_cid, raw_cid
from learnae.content.roots import PART_LINKS, Root, decode_part, decode_parts, decode_root, encode_part, encode_parts, encode_root
from learnae.errors import UpdateRejectedError
from learnae.records import Cid

RAW, DAG = raw_cid(b"block"), dag_cid(b"part")

cids = st.binary(max_size=8).map(raw_cid)


def root_with(**changes: Any) -> bytes:
    return libipld.encode_dag_cbor({"v": 1, "meta": cid_bytes(DAG), "parts": [cid_bytes(DAG)], **changes})


def test_a_root_is_this_very_form() -> None:
    link = b"\xd8\x2a\x58\x25\x00"  # tag 42, 37 bytes, multibase identity
    expected = b"\xa3\x61v\x01\x64meta" + link + cid_bytes(DAG) + b"\x65parts\x81" + link + cid_bytes(DAG)
    assert encode_root(Root(DAG, (DAG,))).data == expected


@given(cids, st.lists(cids, max_size=5))
def test_a_root_survives_the_way_to_bytes_and_back(meta: Cid, parts: list[Cid]) -> None:
    root = Root(meta, tuple(parts))
    assert decode_root(encode_root(root).data, max_parts=5) == root


def test_a_root_with_more_parts_than_expected_is_rejected() -> None:
    root = encode_root(Root(DAG, (DAG, DAG, DAG)))
    assert decode_root(root.data, max_parts=3)
    with pytest.raises(UpdateRejectedError, match="at most 2 items"):
        decode_root(root.data, max_parts=2)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (root_with(v=2), "version"),
        (root_with(v=True), "version"),
        (root_with(v=1.0), "version"),
        (root_with(meta=RAW), "cid"),  # text where a link belongs
        (root_with(meta=b"bytes"), "cid"),
        (root_with(parts=cid_bytes(DAG)), "malformed"),
        (root_with(parts={}), "malformed"),
        (root_with(more=1), "malformed"),
        (libipld.encode_dag_cbor([1]), "malformed"),
        (libipld.encode_dag_cbor({"v": 1, "meta": cid_bytes(DAG)}), "malformed"),
        (root_with() + b"\0", "malformed"),
        (root_with().replace(b"\x61v\x01", b"\x61v\x18\x01"), "not-canonical"),
        (root_with().replace(b"\xd8\x2a\x58\x25\x00", b"\x58\x24"), "not-canonical"),  # the CIDs as byte strings
        (b"\x81" * 200_000, "oversized"),
        (b"\x81" * 300, "malformed"),
        (b"\x9b\x00\x00\x00\x00\x7f\xff\xff\xff", "malformed"),
        (bytes(512 * 1024 + 1), "oversized"),
        (b"", "malformed"),
    ],
)
def test_anything_but_the_form_of_a_root_is_rejected_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UpdateRejectedError) as rejected:
        decode_root(data, max_parts=10)
    assert rejected.value.reason == reason


@given(st.binary(max_size=200))
@example(libipld.encode_dag_cbor({"v": [[[[]]]], "meta": None, "parts": None}))
def test_garbage_is_only_ever_rejected(data: bytes) -> None:
    for decode in (decode_part, lambda data: decode_root(data, 10)):
        with pytest.raises(UpdateRejectedError):
            decode(data)


@given(st.data())
def test_a_changed_byte_gives_another_valid_root_or_a_rejection(data: st.DataObject) -> None:
    good = bytearray(encode_root(Root(DAG, (DAG,))).data)
    good[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        root = decode_root(bytes(good), max_parts=10)
    except UpdateRejectedError:
        return
    assert encode_root(root).data == good


def test_many_blocks_are_listed_in_full_parts_and_a_last_one() -> None:
    blocks = [raw_cid(index.to_bytes(4, "big")) for index in range(2 * PART_LINKS + 1)]
    parts = encode_parts(blocks)
    assert [len(decode_part(part.data)) for part in parts] == [4096, 4096, 1]
    assert decode_parts([part.data for part in parts]) == tuple(blocks)


def test_parts_that_are_not_full_before_the_last_are_rejected() -> None:
    short = encode_part([RAW]).data
    with pytest.raises(UpdateRejectedError, match="not-canonical"):
        decode_parts([short, short])


def test_a_part_lists_something_and_not_too_much() -> None:
    with pytest.raises(UpdateRejectedError, match="not-canonical"):
        decode_part(encode_part([]).data)
    with pytest.raises(UpdateRejectedError, match="malformed"):
        decode_part(encode_part([RAW] * (PART_LINKS + 1)).data)


def test_no_blocks_need_no_parts() -> None:
    assert encode_parts([]) == () == decode_parts([])
