"""A swarm by name, and by key where it is private: peers with the same two meet."""

from __future__ import annotations

import hashlib
import hmac
from functools import cached_property

import attrs

from learnae.content.seals import OPEN, Seal, Siv
from learnae.identity.swarm_keys import SwarmKey, framed

SWARM_BYTES = 16
SECRET_BYTES = 32


def swarm_id(name: str, key: bytes | None = None) -> bytes:
    """16 bytes of sha256("learnae/swarm/1", name, key), each with its length before it so that no two pairs coincide."""
    items = [name.encode(), *([] if key is None else [key])]
    return hashlib.sha256(b"learnae/swarm/1" + framed(items)).digest()[:SWARM_BYTES]


def channel(swarm: bytes) -> str:
    """The name under which announcers know a swarm: its id in hexadecimal digits."""
    return swarm.hex()


@attrs.frozen
class Swarm:
    """One swarm as its members know it. Without a key it is open: nothing is sealed, and whoever knows the name knows all."""

    name: str
    key: SwarmKey | None = None

    @cached_property
    def id(self) -> bytes:
        """16 bytes; two peers show the same ones if they have both name and key in common."""
        return swarm_id(self.name, self.key.secret() if self.key else None)

    @property
    def channel(self) -> str:
        return channel(self.id)

    @cached_property
    def blocks(self) -> Seal:
        """For data and meta."""
        return self._seal("blocks")

    @cached_property
    def messages(self) -> Seal:
        """For announcements."""
        return self._seal("messages")

    def secret(self, purpose: str) -> bytes | None:
        """32 bytes for this purpose of a strategy, the same for all members; None in an open swarm."""
        return self.key.derive(SECRET_BYTES, "learnae/secret/1", self.name, purpose) if self.key else None

    def alias(self, name: str) -> bytes:
        """What stands outside for this name of a member or of what it sends: in a private swarm only members can tell whose it is."""
        if self.key is None:
            return name.encode()
        return hmac.digest(self.key.derive(SECRET_BYTES, "learnae/alias/1", self.name), name.encode(), "sha256")

    def _seal(self, purpose: str) -> Seal:
        return Siv(self.key.derive(Siv.KEY_BYTES, "learnae/seal/1", self.name, purpose)) if self.key else OPEN
