"""How tensors lie in blocks: small ones share one, a large one starts its own, so that unchanged large tensors keep their CIDs."""

from __future__ import annotations

from learnae.content.cids import raw_cid
from learnae.content.limits import SMALLEST_LARGE
from learnae.content.places import Place
from learnae.content.seals import Seal, room
from learnae.records import Block


class Shelf:
    """Takes the bytes of one tensor after the other, says where they are, and in the end gives the blocks."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self._room = room(seal)
        self._blocks: list[Block | None] = []  # None: the place of the shared block that is still being filled
        self._shared = bytearray()
        self._slot = 0  # where the shared block will be

    def add(self, data: bytes) -> Place:
        """Put a tensor's bytes."""
        if not data:
            return Place(0, 0, 0)
        return self._add_small(data) if len(data) < SMALLEST_LARGE else self._add_large(data)

    def close(self) -> list[Block]:
        """All blocks in order; nothing can be added any more."""
        self._finish_shared()
        return [block for block in self._blocks if block]

    def _add_large(self, data: bytes) -> Place:
        first, view = len(self._blocks), memoryview(data)
        self._blocks += (self._block(view[start : start + self._room]) for start in range(0, len(data), self._room))
        return Place(first, 0, len(data))

    def _add_small(self, data: bytes) -> Place:
        if len(self._shared) + len(data) > self._room:
            self._finish_shared()
        if not self._shared:
            self._slot = len(self._blocks)
            self._blocks.append(None)
        place = Place(self._slot, len(self._shared), len(data))
        self._shared += data
        return place

    def _finish_shared(self) -> None:
        if self._shared:
            self._blocks[self._slot] = self._block(bytes(self._shared))
            self._shared = bytearray()

    def _block(self, data: bytes | memoryview) -> Block:
        sealed = self._seal.seal(data)
        return Block(raw_cid(sealed), sealed)
