"""The key of a private swarm: 32 random bytes that all its members have, and the one line of text in which it is handed on."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Iterable

import attrs

KEY_BYTES = 32
PREFIX = "learnae-key-1-"

_CHECK_BYTES = 3  # with the key 35 bytes: 56 letters and digits, nothing left over


@attrs.frozen(eq=False)
class SwarmKey:
    """Shown only by `text`: neither its repr nor an error tells it."""

    _secret: bytes = attrs.field(repr=False)

    @classmethod
    def generate(cls) -> SwarmKey:
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def parse(cls, text: str) -> SwarmKey:
        """The key in this line; spaces around it and upper case do no harm. Raises ValueError, which tells nothing of the text."""
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
        """`length` bytes for this purpose alone, by HKDF-SHA256 (RFC 5869)."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), length, salt=None, info=framed(word.encode() for word in purpose)).derive(self._secret)

    def secret(self) -> bytes:
        """The bytes themselves, for what may never leave this process."""
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
