"""What is believed of a stranger's content before it is compared with anything of one's own."""

from __future__ import annotations

import attrs

from learnae.content.roots import PART_LINKS
from learnae.records import BLOCK_BYTES

SMALLEST_LARGE = BLOCK_BYTES // 4
"""A tensor of at least this many encoded bytes starts its own block; so an update has at most one block for each 128 KiB, and one more."""


MOST_TENSORS = 1 << 16
"""Where no own model says how many there are."""


@attrs.frozen
class Limits:
    """Upper bounds on one update or slice. `bytes` is the sum of all its blocks."""

    bytes: int
    tensors: int = MOST_TENSORS
    pages: int = 64  # blocks of the meta
    name: int = 512  # characters in a tensor's name
    dims: int = 16
    notes: int = 16  # numbers and texts that a codec attaches to a tensor
    text: int = 256  # characters in one of those, and in other names
    parents: int = 64

    @property
    def blocks(self) -> int:
        """Data blocks."""
        return self.bytes // SMALLEST_LARGE + 2

    @property
    def parts(self) -> int:
        """Parts that list them."""
        return -(-self.blocks // PART_LINKS)
