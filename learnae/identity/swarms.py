"""A swarm by name, and by key where it is private: peers with the same two meet."""

from __future__ import annotations

import hashlib

SWARM_BYTES = 16


def swarm_id(name: str, key: bytes | None = None) -> bytes:
    """16 bytes of sha256("learnae/swarm/1", name, key), each with its length before it so that no two pairs coincide."""
    digest = hashlib.sha256(b"learnae/swarm/1")
    for item in (name.encode(), *(() if key is None else (key,))):
        digest.update(len(item).to_bytes(8, "big") + item)
    return digest.digest()[:SWARM_BYTES]


def channel(swarm: bytes) -> str:
    """The name under which announcers know a swarm: its id in hexadecimal digits."""
    return swarm.hex()
