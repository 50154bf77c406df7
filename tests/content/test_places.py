from __future__ import annotations

import pytest

from learnae.content.meta import Place, block_lengths
from learnae.errors import UpdateRejected

ROOM = 10


def test_a_tensor_of_several_blocks_fills_all_but_the_last() -> None:
    assert list(Place(3, 0, 25).spans(ROOM)) == [(3, 0, 10), (4, 0, 10), (5, 0, 5)]
    assert list(Place(1, 4, 6).spans(ROOM)) == [(1, 4, 10)]
    assert list(Place(0, 0, 0).spans(ROOM)) == []


def test_blocks_are_as_long_as_their_tensors_need() -> None:
    places = [Place(0, 0, 4), Place(1, 0, 13), Place(0, 4, 3), Place(0, 0, 0)]
    assert block_lengths(places, 3, ROOM) == [7, 10, 3]


@pytest.mark.parametrize(
    "places",
    [
        [Place(2, 0, 1)],  # there is no third block
        [Place(1, 0, 11)],  # ends in it
        [Place(0, 5, 6), Place(1, 0, 1)],  # leaves its block, and did not start it
        [Place(0, 1 << 40, 1), Place(1, 0, 1)],
        [Place(0, 0, 20), Place(1, 0, 1)],  # 21 bytes in 20
        [Place(0, 0, 5)],  # the second block holds nothing
        [Place(0, 0, 5), Place(0, 4, 3), Place(1, 0, 1)],  # byte 4 is in two tensors
        [Place(0, 0, 5), Place(0, 0, 5), Place(1, 0, 1)],
        [Place(0, 0, 12), Place(1, 1, 4)],  # byte 1 of the second block is in two tensors
        [Place(0, 0, 5), Place(0, 6, 3), Place(1, 0, 1)],  # byte 5 is in none
    ],
)
def test_places_that_do_not_fit_the_blocks_are_rejected(places: list[Place]) -> None:
    with pytest.raises(UpdateRejected, match="place"):
        block_lengths(places, 2, ROOM)
