"""What a private swarm does to the bytes of each block before they are hashed, and to each announcement after it is signed."""

from __future__ import annotations

from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from learnae.errors import UpdateRejectedError
from learnae.records import BLOCK_BYTES


class Encryption(Protocol):
    """Encrypts bytes so that only members of a swarm can read them. Equal bytes give equal ciphertext, and so equal CIDs.

    Roots and parts are not encrypted, because they hold links only.
    """

    @property
    def overhead(self) -> int:
        """How many bytes the ciphertext is longer. 0 without encryption."""

    def seal(self, data: bytes | memoryview) -> bytes:
        """Encrypt at least one byte."""

    def open(self, data: bytes) -> bytes:
        """Decrypt. Raises UpdateRejectedError("seal") for bytes that were not encrypted with this key."""


class NoEncryption:
    """The encryption of an open swarm. It changes nothing."""

    overhead = 0

    def seal(self, data: bytes | memoryview) -> bytes:
        return bytes(data)

    def open(self, data: bytes) -> bytes:
        return data


class AesSiv:
    """AES-256-SIV (RFC 5297). Equal bytes give equal ciphertext. A stranger learns only that they are equal."""

    KEY_BYTES = 64
    overhead = 16

    def __init__(self, key: bytes) -> None:
        self._cipher = AESSIV(key)

    def seal(self, data: bytes | memoryview) -> bytes:
        return self._cipher.encrypt(data, None)

    def open(self, data: bytes) -> bytes:
        try:
            return self._cipher.decrypt(data, None)
        except (InvalidTag, ValueError):  # ValueError: too short to be anything
            raise UpdateRejectedError("seal", f"{len(data)} bytes that were not sealed with the key of this swarm") from None


NO_ENCRYPTION = NoEncryption()


def room(encryption: Encryption) -> int:
    """Bytes that fit into one block before sealing."""
    return BLOCK_BYTES - encryption.overhead
