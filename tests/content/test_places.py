from __future__ import annotations

import pytest

from learnae.content.meta import ByteRange, block_lengths
from learnae.errors import UpdateRejectedError

ROOM = 10


def test_a_tensor_of_several_blocks_fills_all_but_the_last() -> None:
    assert list(ByteRange(3, 0, 25).spans(ROOM)) == [(3, 0, 10), (4, 0, 10), (5, 0, 5)]
    assert list(ByteRange(1, 4, 6).spans(ROOM)) == [(1, 4, 10)]
    assert list(ByteRange(0, 0, 0).spans(ROOM)) == []


def test_blocks_are_as_long_as_their_tensors_need() -> None:
    places = [ByteRange(0, 0, 4), ByteRange(1, 0, 13), ByteRange(0, 4, 3), ByteRange(0, 0, 0)]
    assert block_lengths(places, 3, ROOM) == [7, 10, 3]


@pytest.mark.parametrize(
    "places",
    [
        [ByteRange(2, 0, 1)],  # there is no third block
        [ByteRange(1, 0, 11)],  # ends in it
        [ByteRange(0, 5, 6), ByteRange(1, 0, 1)],  # leaves its block, and did not start it
        [ByteRange(0, 1 << 40, 1), ByteRange(1, 0, 1)],
        [ByteRange(0, 0, 20), ByteRange(1, 0, 1)],  # 21 bytes in 20
        [ByteRange(0, 0, 5)],  # the second block holds nothing
        [ByteRange(0, 0, 5), ByteRange(0, 4, 3), ByteRange(1, 0, 1)],  # byte 4 is in two tensors
        [ByteRange(0, 0, 5), ByteRange(0, 0, 5), ByteRange(1, 0, 1)],
        [ByteRange(0, 0, 12), ByteRange(1, 1, 4)],  # byte 1 of the second block is in two tensors
        [ByteRange(0, 0, 5), ByteRange(0, 6, 3), ByteRange(1, 0, 1)],  # byte 5 is in none
    ],
)
def test_places_that_do_not_fit_the_blocks_are_rejected(places: list[ByteRange]) -> None:
    with pytest.raises(UpdateRejectedError, match="place"):
        block_lengths(places, 2, ROOM)
