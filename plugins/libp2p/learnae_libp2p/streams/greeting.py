"""How a block stream begins: both ends prove that they belong to the swarm, without showing its key.

Each proof is made from a nonce of either end and from both names, which the transport has proven: none can be used elsewhere or again.
In an open swarm everybody can make the key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import attrs
import trio

from learnae_libp2p.streams.frames import FrameError, FrameKind, FrameReader, frame
from learnae_libp2p.streams.transport import Stream

VERSION = b"\x01"
NONCE_BYTES, PROOF_BYTES = 32, 32
GREETING_SECONDS = 10.0


@attrs.frozen(kw_only=True)
class SwarmProof:
    """What it takes to greet others. `nonce` gives 32 bytes that nobody can guess, others each time."""

    peer: str
    key: bytes = attrs.field(repr=False)
    nonce: Callable[[], bytes]

    @classmethod
    def of(cls, peer: str, secret: bytes | None, channel: str, nonce: Callable[[], bytes]) -> SwarmProof:
        """`secret` is None in an open swarm."""
        key = secret if secret is not None else hashlib.sha256(b"an open swarm: " + channel.encode()).digest()
        return cls(peer=peer, key=key, nonce=nonce)

    def proof(self, role: bytes, asker: str, holder: str, nonces: bytes) -> bytes:
        names = b"".join(len(name.encode()).to_bytes(4, "big") + name.encode() for name in (asker, holder))
        return hmac.digest(self.key, b"learnae blocks " + role + nonces + names, "sha256")


class StrangerError(FrameError):
    """The other end has no proof that it belongs to this swarm."""


async def greet_as_asker(stream: Stream, reader: FrameReader, membership: SwarmProof) -> None:
    """Raises FrameError for a holder that is no member or no peer of ours, TooSlowError, StreamClosedError."""
    with trio.fail_after(GREETING_SECONDS):
        own = _checked(membership.nonce())
        await stream.send_all(frame(FrameKind.HELLO, VERSION, own))
        body = await _expect(reader, FrameKind.HELLO, len(VERSION) + NONCE_BYTES + PROOF_BYTES)
        nonces = own + body[1 : 1 + NONCE_BYTES]
        if not hmac.compare_digest(body[-PROOF_BYTES:], membership.proof(b"holder", membership.peer, stream.peer, nonces)):
            raise StrangerError("it does not belong to this swarm")
        await stream.send_all(frame(FrameKind.PROOF, membership.proof(b"asker", membership.peer, stream.peer, nonces)))


async def greet_as_holder(stream: Stream, reader: FrameReader, membership: SwarmProof) -> None:
    """Raises FrameError for an asker that is no member or no peer of ours, TooSlowError, StreamClosedError."""
    with trio.fail_after(GREETING_SECONDS):
        body = await _expect(reader, FrameKind.HELLO, len(VERSION) + NONCE_BYTES)
        own = _checked(membership.nonce())
        nonces = body[1:] + own
        proof = membership.proof(b"holder", stream.peer, membership.peer, nonces)
        await stream.send_all(frame(FrameKind.HELLO, VERSION, own, proof))
        answer = await _expect(reader, FrameKind.PROOF, PROOF_BYTES)
        if not hmac.compare_digest(answer, membership.proof(b"asker", stream.peer, membership.peer, nonces)):
            raise StrangerError("it does not belong to this swarm")


async def _expect(reader: FrameReader, kind: FrameKind, length: int) -> bytes:
    if await reader.header() != (kind, length):
        raise FrameError("it does not greet as this version does")
    body = await reader.body(length)
    if kind == FrameKind.HELLO and body[:1] != VERSION:
        raise FrameError(f"it speaks version {body[0]}")
    return body


def _checked(nonce: bytes) -> bytes:
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce of {len(nonce)} bytes")
    return nonce
