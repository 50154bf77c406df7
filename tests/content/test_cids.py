from __future__ import annotations

import hashlib

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.content.cids import check, cid_bytes, cid_text, dag_cid, is_dag, parse_cid, raw_cid
from learnae.errors import UpdateRejectedError
from learnae.records import BLOCK_BYTES, Block, Cid

# What `ipfs block put --format=raw` and `ipfs dag put` print for these bytes.
EMPTY_RAW = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
EMPTY_MAP = "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua"


def test_the_cids_of_known_bytes_are_those_that_ipfs_gives() -> None:
    assert raw_cid(b"") == EMPTY_RAW
    assert dag_cid(b"\xa0") == EMPTY_MAP
    assert not is_dag(raw_cid(b"")) and is_dag(dag_cid(b"\xa0"))


def test_a_memoryview_is_hashed_like_its_bytes() -> None:
    assert raw_cid(memoryview(b"-abc-")[1:4]) == raw_cid(b"abc")


@given(st.binary(max_size=100), st.sampled_from([raw_cid, dag_cid]))
def test_a_cid_survives_the_way_to_bytes_and_back(data: bytes, name: object) -> None:
    cid = name(data)  # type: ignore[operator]
    assert cid_bytes(cid)[4:] == hashlib.sha256(data).digest()
    assert cid_text(cid_bytes(cid)) == cid == parse_cid(cid)


@given(st.one_of(st.binary(max_size=80), st.text(max_size=80), st.integers(), st.none()))
def test_what_is_no_cid_is_only_ever_rejected(junk: object) -> None:
    for read in (cid_text, parse_cid):
        with pytest.raises(UpdateRejectedError, match="cid"):
            read(junk)


@pytest.mark.parametrize(
    "text",
    [
        "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n",  # version 0
        EMPTY_RAW.upper(),
        "z" + EMPTY_RAW[1:],  # another base
        EMPTY_RAW[:-1] + "v",  # the same 36 bytes with stray bits at the end
        EMPTY_RAW[:-1] + "\ud800",
        "bafkqaaa",  # identity hash
        "b" + "a" * 58,
    ],
)
def test_another_way_to_write_a_cid_is_rejected(text: str) -> None:
    with pytest.raises(UpdateRejectedError):
        parse_cid(text)


@pytest.mark.parametrize("head", [b"\x01\x70\x12\x20", b"\x01\x55\x13\x20", b"\x01\x55\x12\x1f", b"\x00\x55\x12\x20"])
def test_another_codec_hash_length_or_version_is_rejected(head: bytes) -> None:
    with pytest.raises(UpdateRejectedError):
        cid_text(head + bytes(32))


def test_a_block_checks_only_with_its_own_bytes_and_its_own_codec() -> None:
    assert check(Block(raw_cid(b"abc"), b"abc"))
    assert check(Block(dag_cid(b"abc"), b"abc"))
    assert not check(Block(raw_cid(b"abc"), b"abd"))
    assert not check(Block(Cid("bafyrei"), b"abc"))


def test_a_block_beyond_the_size_bound_does_not_check() -> None:
    largest = bytes(BLOCK_BYTES)
    assert check(Block(raw_cid(largest), largest))
    assert not check(Block(raw_cid(largest + b"\0"), largest + b"\0"))


def test_a_block_is_hashed_once_by_whoever_needs_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    block = Block(EMPTY_RAW, b"")
    assert check(block)
    monkeypatch.setattr("learnae.content.cids.raw_cid", None)
    assert check(block)


def test_nothing_is_known_of_a_block_that_was_made_of_a_sound_one() -> None:
    block = Block(EMPTY_RAW, b"")
    assert check(block)
    assert not check(attrs.evolve(block, data=b"x"))
    assert not check(Block(block.cid, b"x"))


def test_what_can_still_change_is_hashed_again() -> None:
    data = bytearray()
    block = Block(EMPTY_RAW, data)  # type: ignore[arg-type]
    assert check(block)
    data.append(1)
    assert not check(block)
