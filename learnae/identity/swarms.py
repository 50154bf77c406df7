"""A swarm is known by its name, and by its key if it is private. Peers with the same name and key meet."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from functools import cached_property

import attrs

from learnae.content.encryption import NO_ENCRYPTION, AesSiv, Encryption

KEY_BYTES = 32
PREFIX = "learnae-key-1-"

_CHECK_BYTES = 3  # with the key 35 bytes: 56 letters and digits, nothing left over


@attrs.frozen(eq=False)
class SwarmKey:
    """The key of a private swarm. Only `text` shows it. Neither the repr nor an error does."""

    _secret: bytes = attrs.field(repr=False)

    @classmethod
    def generate(cls) -> SwarmKey:
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def parse(cls, text: str) -> SwarmKey:
        """Read the key in this line. Spaces around it and upper case do not matter. Raises ValueError, which shows nothing of the line."""
        body = text.strip().lower()
        if not body:
            raise ValueError("is empty")
        if not body.startswith(PREFIX):
            raise ValueError(f"is no key of a swarm: one begins with {PREFIX}")
        try:
            data = base64.b32decode(body.removeprefix(PREFIX).upper().encode("ascii", "replace"))
        except binascii.Error:
            data = b""
        if len(data) != KEY_BYTES + _CHECK_BYTES or data[KEY_BYTES:] != _check(data[:KEY_BYTES]):
            raise ValueError("is mistyped or cut off: its checksum is wrong")
        return cls(data[:KEY_BYTES])

    def text(self) -> str:
        """The line that `parse` reads."""
        return PREFIX + base64.b32encode(self._secret + _check(self._secret)).decode().lower()

    def derive(self, length: int, *purpose: str) -> bytes:
        """Derive `length` bytes for this purpose only, by HKDF-SHA256 (RFC 5869)."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), length, salt=None, info=framed(word.encode() for word in purpose)).derive(self._secret)

    def secret(self) -> bytes:
        """The bytes of the key. They must not leave this process."""
        return self._secret


def looks_like_a_key(text: str) -> bool:
    """Or like something with a key in it."""
    return PREFIX in text.lower()


def without_keys(text: str) -> str:
    """For messages: of each key, whole or cut off, only the prefix is left."""
    return re.sub(f"{PREFIX}[a-z2-7]+", f"{PREFIX}...", text, flags=re.IGNORECASE)


def framed(items: Iterable[bytes]) -> bytes:
    """Each with its length before it, so that no two lists coincide."""
    return b"".join(len(item).to_bytes(8, "big") + item for item in items)


def _check(secret: bytes) -> bytes:
    return hashlib.sha256(PREFIX.encode() + secret).digest()[:_CHECK_BYTES]


SWARM_BYTES = 16
SECRET_BYTES = 32


def swarm_id(name: str, key: bytes | None = None, *, weights_only: bool = False) -> bytes:
    """16 bytes of sha256("learnae/swarm/1", name, key), each with its length before it so that no two pairs coincide.

    That of a swarm of weights only begins with "learnae/swarm/1/weights-only".
    """
    items = [name.encode(), *([] if key is None else [key])]
    begin = b"learnae/swarm/1/weights-only" if weights_only else b"learnae/swarm/1"
    return hashlib.sha256(begin + framed(items)).digest()[:SWARM_BYTES]


def channel(swarm: bytes) -> str:
    """The name under which announcers know a swarm: its id in hexadecimal digits."""
    return swarm.hex()


@attrs.frozen
class SwarmIdentity:
    """One swarm, as its members know it. Without a key it is open: nothing is encrypted, and anybody who knows the name can take part."""

    name: str
    key: SwarmKey | None = None
    weights_only: bool = False

    @cached_property
    def id(self) -> bytes:
        """The id of the swarm, 16 bytes. Two peers have the same id if they have the same name and key, and agree whether rows travel."""
        return swarm_id(self.name, self.key.secret() if self.key else None, weights_only=self.weights_only)

    @property
    def channel(self) -> str:
        return channel(self.id)

    @cached_property
    def blocks(self) -> Encryption:
        """The encryption of data and meta."""
        return self._encryption("blocks")

    @cached_property
    def messages(self) -> Encryption:
        """The encryption of announcements."""
        return self._encryption("messages")

    def secret(self, purpose: str) -> bytes | None:
        """A key of 32 bytes for this purpose of a strategy, the same for all members. None in an open swarm."""
        return self.key.derive(SECRET_BYTES, "learnae/secret/1", self.name, purpose) if self.key else None

    def alias(self, name: str) -> bytes:
        """The outside name of a member, or of something that it sends. In a private swarm only members can tell whose it is."""
        if self.key is None:
            return name.encode()
        return hmac.digest(self.key.derive(SECRET_BYTES, "learnae/alias/1", self.name), name.encode(), "sha256")

    def _encryption(self, purpose: str) -> Encryption:
        return AesSiv(self.key.derive(AesSiv.KEY_BYTES, "learnae/seal/1", self.name, purpose)) if self.key else NO_ENCRYPTION
