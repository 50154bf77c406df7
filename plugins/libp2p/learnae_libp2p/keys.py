"""The peer's own Ed25519 key as its libp2p identity: the key itself stays in the core."""

from __future__ import annotations

from collections.abc import Callable

from libp2p.crypto.ed25519 import Ed25519PublicKey
from libp2p.crypto.keys import KeyPair, KeyType, PrivateKey, PublicKey
from libp2p.peer.id import ID

from learnae import Context


class SigningKey(PrivateKey):  # type: ignore[misc]  # libp2p is not followed by mypy
    """Signs by the core. It cannot be written out."""

    def __init__(self, sign: Callable[[bytes], bytes], public: PublicKey) -> None:
        self._sign = sign
        self._public = public

    def sign(self, data: bytes) -> bytes:
        return self._sign(data)

    def get_public_key(self) -> PublicKey:
        return self._public

    def get_type(self) -> KeyType:
        return KeyType.Ed25519

    def to_bytes(self) -> bytes:
        raise ValueError("the peer's key does not leave the core")


def key_pair(context: Context) -> KeyPair:
    """The identity of this peer."""
    public = Ed25519PublicKey.from_bytes(bytes.fromhex(context.peer))
    return KeyPair(SigningKey(context.sign, public), public)


def peer_id(public_key: str) -> ID:
    """What libp2p calls the peer with this public key (64 hexadecimal digits)."""
    return ID.from_pubkey(Ed25519PublicKey.from_bytes(bytes.fromhex(public_key)))
