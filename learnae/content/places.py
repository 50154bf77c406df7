"""Where a tensor's bytes lie in the list of data blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from learnae.errors import UpdateRejected


@attrs.frozen
class Place:
    """`length` bytes from `offset` in block number `block`.

    What does not fit into one block starts at offset 0, fills it, and goes on in the following blocks. A length of 0 takes no block.
    """

    block: int
    offset: int
    length: int

    def spans(self, room: int) -> Iterator[tuple[int, int, int]]:
        """(block, start, stop) for each block that this place touches, where a block holds `room` bytes."""
        block, start, left = self.block, self.offset, self.length
        while left > 0:
            stop = min(start + left, room)
            yield block, start, stop
            block, start, left = block + 1, 0, left - (stop - start)


def block_lengths(places: Sequence[Place], count: int, room: int) -> list[int]:
    """How long each of `count` blocks of at most `room` bytes must be to hold these places.

    Raises UpdateRejected("place") unless they fill the blocks from the first byte, one behind the other, and each block holds something.
    """
    if sum(place.length for place in places) > count * room:  # also bounds the work below
        raise UpdateRejected("place", "tensors overlap")
    lengths = [0] * count
    for place in sorted(places, key=lambda place: (place.block, place.offset)):
        _check(place, count, room)
        for block, start, stop in place.spans(room):
            if start != lengths[block]:
                raise UpdateRejected("place", f"two tensors overlap in block {block}, or leave a gap")
            lengths[block] = stop
    if 0 in lengths:
        raise UpdateRejected("place", f"block {lengths.index(0)} holds no tensor")
    return lengths


def _check(place: Place, count: int, room: int) -> None:
    end = place.offset + place.length
    if place.block + -(-end // room) > count:
        raise UpdateRejected("place", f"a tensor ends behind the last of {count} blocks")
    if end > room and place.offset:
        raise UpdateRejected("place", "a tensor of several blocks must start its first")
