"""Inputs that once did harm, and bombs that never may: each is refused, at a cost that its length accounts for."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import libipld
import pytest

from learnae.content.cids import cid_bytes, raw_cid
from learnae.content.meta import ByteRange, Limits, block_lengths, decode_meta
from learnae.content.roots import decode_dag, decode_part, decode_root
from learnae.content.scan import Form
from learnae.errors import UpdateRejectedError
from learnae.link.messages import GarbledError, Lines
from learnae.records import BLOCK_BYTES

KEYS = ("peer", "kind", "number", "codec", "base", "parents", "tensors")
HEAD = {"peer": "0f" * 32, "kind": 1, "number": 7, "codec": "fp32", "base": "", "parents": []}
MEBIBYTE = 1 << 20
WIDE = Form(items=1 << 20, containers=1 << 20, depth=4)


def page(tensors: object, **changes: object) -> bytes:
    encoded: bytes = libipld.encode_dag_cbor({**HEAD, **changes, "tensors": tensors})
    return encoded


def filled_up(head: bytes) -> bytes:
    return head + bytes(BLOCK_BYTES - len(head))


@contextmanager
def at_most(mebibytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] <= mebibytes * MEBIBYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("header", [b"\xba%b\x61a", b"\x9a%b"], ids=["mappings", "lists"])
def test_nested_headers_that_claim_a_whole_block_each_are_refused_before_anything_is_allocated_by_them(header):
    """libipld took 2.2 GiB and 8 seconds for 900 such mappings in one block of 512 KiB."""
    claims = b"".join(header % struct.pack(">I", BLOCK_BYTES // 2 - 16 * level) for level in range(900))
    with at_most(4), pytest.raises(UpdateRejectedError, match="malformed"):
        decode_dag(filled_up(claims), KEYS, WIDE)


@pytest.mark.parametrize("levels", [5, 100, 900, 100_000])
@pytest.mark.parametrize("header", [b"\x81", b"\xa1\x61a", b"\xd8\x2a", b"\xc2"], ids=["list", "mapping", "link", "tag"])
def test_deep_nesting_is_refused(levels, header):
    """Two pages with heads that nest 940 deep ended in a RecursionError where they were compared."""
    data = (header * levels)[: BLOCK_BYTES - 1] + b"\x00"
    with at_most(4), pytest.raises(UpdateRejectedError):
        decode_meta([data, data], Limits(MEBIBYTE))


@pytest.mark.parametrize("item", [b"\x80", b"\xa0", b"\x60", b"\x00"], ids=["lists", "mappings", "texts", "numbers"])
def test_a_block_full_of_the_smallest_items_unfolds_to_no_more_than_a_hundred_times_its_size(item):
    count = BLOCK_BYTES - 200
    data = page([]).replace(b"\x67tensors\x80", b"\x67tensors\x9a" + struct.pack(">I", count) + item * count)
    assert len(data) <= BLOCK_BYTES
    with at_most(BLOCK_BYTES * 100 // MEBIBYTE), pytest.raises(UpdateRejectedError, match="malformed"):
        decode_meta([data], Limits(MEBIBYTE))


class Looked(bytes):
    """Bytes that count how many of them were looked at one by one."""

    looks = 0

    def __getitem__(self, key):
        self.looks += 1
        return super().__getitem__(key)


@pytest.mark.parametrize("item", [b"\x80", b"\xa0", b"\x60", b"\x00"], ids=["lists", "mappings", "texts", "numbers"])
def test_of_a_page_full_of_the_smallest_items_no_more_is_looked_at_than_the_own_model_accounts_for(item):
    """Each such page held a node's loop up for a quarter of a second."""
    count = BLOCK_BYTES - 200
    data = Looked(page([]).replace(b"\x67tensors\x80", b"\x67tensors\x9a" + struct.pack(">I", count) + item * count))
    with at_most(1), pytest.raises(UpdateRejectedError, match="malformed"):
        decode_meta([data], Limits(MEBIBYTE, tensors=70))
    assert data.looks <= 100 * 70


@pytest.mark.parametrize("item", [b"\x80", b"\xa0", b"\x60", b"\x00"], ids=["lists", "mappings", "texts", "numbers"])
def test_a_root_that_is_longer_than_its_links_is_refused_without_a_look(item):
    data = Looked(filled_up(b"\xa3\x61v\x01\x64meta\x00\x65parts\x9a" + struct.pack(">I", BLOCK_BYTES - 40) + item * 1000))
    with at_most(1), pytest.raises(UpdateRejectedError, match="oversized"):
        decode_root(data, 4)
    assert data.looks == 0


def test_numbers_as_keys_are_refused_since_their_hashes_could_be_made_to_collide():
    keys = b"".join(b"\x1b" + struct.pack(">Q", number << 40) + b"\x00" for number in range(1000))
    with pytest.raises(UpdateRejectedError, match="malformed"):
        decode_dag(b"\xb9" + struct.pack(">H", 1000) + keys, KEYS, WIDE)


@pytest.mark.parametrize(
    "row",
    [
        ["w", "float32", [2**31, 2**31, 2], {}, 0, 0, 0],
        ["w", "float32", [2**63 - 1] * 16, {}, 0, 0, 0],
        ["w", "float32", [1] * 17, {}, 0, 0, 0],
        ["w", "float32", [-1, -1], {}, 0, 0, 0],
        ["w" * 513, "float32", [1], {}, 0, 0, 0],
        ["w\n", "float32", [1], {}, 0, 0, 0],
        ["w", "f" * 257, [1], {}, 0, 0, 0],
        ["w", "S400000000", [1], {}, 0, 0, 0],
        ["w", "float32", [1], {str(number): 0 for number in range(17)}, 0, 0, 0],
        ["w", "float32", [1], {"note": "x" * 257}, 0, 0, 0],
        ["w", "float32", [1], {"note": []}, 0, 0, 0],
        ["w", "float32", [1], {}, 0, 0, 2**63 - 1],
        ["w", "float32", [1], {}, -1, 0, 0],
    ],
    ids=[
        "product",
        "largest-product",
        "dims",
        "negative",
        "name",
        "line-feed",
        "dtype",
        "huge-dtype",
        "notes",
        "note",
        "nested",
        "length",
        "block",
    ],
)
def test_a_tensor_beyond_a_bound_is_refused(row):
    with pytest.raises(UpdateRejectedError, match="malformed"):
        decode_meta([page([row])], Limits(MEBIBYTE))


def test_more_tensors_than_the_bound_on_all_pages_together_are_refused():
    rows = [[str(number), "float32", [], {}, 0, 0, 0] for number in range(60)]
    limits = Limits(MEBIBYTE, tensors=100)
    assert len(decode_meta([page(rows)], limits).tensors) == 60
    with pytest.raises(UpdateRejectedError, match="malformed"):
        decode_meta([page(rows), page(rows)], limits)


def test_one_block_named_over_and_over_gives_no_tensor_more_bytes_than_the_limit():
    """4,096 links to one block of 512 KiB stand for 2 GiB."""
    with pytest.raises(UpdateRejectedError, match="an integer from 0 to 1048576"):
        decode_meta([page([["w", "float32", [1], {}, 0, 0, MEBIBYTE + 1]])], Limits(MEBIBYTE))


def test_places_take_no_more_steps_than_there_are_blocks_and_places():
    with pytest.raises(UpdateRejectedError, match="place"):
        block_lengths([ByteRange(0, 0, 2**62)], 1000, BLOCK_BYTES)
    with pytest.raises(UpdateRejectedError, match="place"):
        block_lengths([ByteRange(2**62, 2**62, 1)], 1000, BLOCK_BYTES)


def test_parts_and_roots_have_a_longest_list():
    link = cid_bytes(raw_cid(b""))
    with pytest.raises(UpdateRejectedError, match="a list of at most 4096 items"):
        decode_part(libipld.encode_dag_cbor({"blocks": [link] * 4097}))
    with pytest.raises(UpdateRejectedError, match="a list of at most 3 items"):
        decode_root(libipld.encode_dag_cbor({"v": 1, "meta": link, "parts": [link] * 4}), 3)


def test_a_number_too_large_for_a_float_is_garbled():
    """It came out as an OverflowError, which ended the node."""
    huge = b"1" + b"0" * 400
    line = (
        b'{"is": "Taken", "slot": 0, "progress": {"adoption": 0, "lineage": "", "age": 0, "steps": 0, "samples": 0, "step_seconds": %b}}\n'
    )
    Lines().decode(line % b"10")
    with pytest.raises(GarbledError):
        Lines().decode(line % huge)
