"""The place for seals: what a private swarm does to the bytes of each block before they are hashed."""

from __future__ import annotations

from typing import Protocol

from learnae.records import BLOCK_BYTES


class Seal(Protocol):
    """Deterministic, so that equal bytes keep equal CIDs. Roots and parts are never sealed: they hold links only."""

    @property
    def overhead(self) -> int:
        """How many bytes longer the sealed form is; 0 if nothing is sealed."""

    def seal(self, data: bytes | memoryview) -> bytes:
        """The bytes of the block."""

    def open(self, data: bytes) -> bytes:
        """What was sealed. Raises UpdateRejected for bytes that were not sealed with this key."""


class Open:
    """The seal of an open swarm: changes nothing."""

    overhead = 0

    def seal(self, data: bytes | memoryview) -> bytes:
        return bytes(data)

    def open(self, data: bytes) -> bytes:
        return data


OPEN = Open()


def room(seal: Seal) -> int:
    """Bytes that fit into one block before sealing."""
    return BLOCK_BYTES - seal.overhead
