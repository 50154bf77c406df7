"""The bytes of a tensor can be had in slices, wherever its blocks end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from learnae.content.pack import pack
from learnae.content.unpack import Content
from learnae.records import AnnouncementKind, Encoded, TensorSpec
from learnae.testing.context import peer_named

BYTES = bytes(range(251)) * 6000  # three blocks, the last in part
SMALL = b"small"


def content() -> Content:
    entries = [
        (TensorSpec(name=name, dtype="float32", shape=(1,)), Encoded(data))
        for name, data in (("s", SMALL), ("w", BYTES), ("t", SMALL[::-1]))
    ]
    packed = pack(entries, peer=peer_named("alice"), kind=AnnouncementKind.UPDATE, number=1, codec="any")
    return Content(packed.meta, packed.data_cids, {block.cid: block.data for block in packed.blocks})


CONTENT = content()


@given(start=st.integers(0, len(BYTES) + 9), length=st.integers(0, len(BYTES)))
def test_each_slice_is_that_of_the_whole(start, length):
    found, entry = CONTENT.slices("w")
    assert (len(found), entry.spec.name) == (len(BYTES), "w")
    assert bytes(found[start : start + length]) == BYTES[start : start + length]


def test_small_ones_that_share_a_block_are_told_apart():
    assert bytes(CONTENT.slices("s")[0][0:5]) == SMALL
    assert bytes(CONTENT.slices("t")[0][1:]) == SMALL[::-1][1:]
