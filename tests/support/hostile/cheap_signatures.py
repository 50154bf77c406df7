"""Messages by the ten thousand, signed in a way that costs nothing, and a receiver with a clock of its own that hears them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from typing import Any

import attrs
import cbor2
import structlog

from learnae.content.cids import raw_cid
from learnae.identity.envelopes import dump_body
from learnae.identity.keys import Admission
from learnae.identity.swarms import SwarmIdentity, SwarmKey
from learnae.node.inbox import Inbox
from learnae.node.peers import Peers
from learnae.node.receive import Receiver
from learnae.records import AnnouncementKind, Heard, Leaving, PeerId, Present, Sample, Update
from learnae.testing.context import make_runtime
from tests.support.records import an_update

OPEN, PRIVATE = SwarmIdentity("ours", None), SwarmIdentity("ours", SwarmKey(bytes(range(32))))
WIRE_BYTES = 97
KINDS = {
    Update: AnnouncementKind.UPDATE,
    Present: AnnouncementKind.PRESENT,
    Sample: AnnouncementKind.SAMPLE,
    Leaving: AnnouncementKind.LEAVING,
}


@attrs.define
class Checks:
    """Stands for the check of a signature, and counts: a good one is the hash of what is signed, so that millions can be made."""

    made: int = 0

    @staticmethod
    def sign(peer: PeerId, message: bytes) -> bytes:
        return hashlib.blake2b(message, key=bytes.fromhex(peer)).digest()

    def verify(self, peer: PeerId, signature: bytes, message: bytes) -> bool:
        self.made += 1
        return signature == self.sign(peer, message)


@attrs.frozen
class Signer:
    """An identity of such signatures."""

    peer: PeerId

    def sign(self, message: bytes) -> bytes:
        return Checks.sign(self.peer, message)


@cache
def signer(name: str) -> Signer:
    return Signer(PeerId(hashlib.sha256(name.encode()).hexdigest()))


@cache
def update(number: int = 0) -> Update:
    return an_update(raw_cid(number.to_bytes(8, "big")))


def said(name: str, number: int, body: Any = None, swarm: SwarmIdentity = OPEN) -> bytes:
    """What `encode_envelope` makes, without its looking at it again: there are many."""
    body = body or update()
    payload = cbor2.dumps({0: swarm.id, 1: int(KINDS[type(body)]), 2: number, **dump_body(KINDS[type(body)], body)}, canonical=True)
    signature = signer(name).sign(b"learnae/announcement/1" + payload)
    return swarm.messages.seal(b"\x01" + bytes.fromhex(signer(name).peer) + signature + payload)


def forged(name: str, number: int) -> bytes:
    """In somebody's name, and whole but for the signature."""
    message = said(name, number)
    return message[: WIRE_BYTES - 1] + bytes([message[WIRE_BYTES - 1] ^ 1]) + message[WIRE_BYTES:]


@attrs.define
class Listener:
    """A Receiver with its own time."""

    now: float = 0.0
    swarm: SwarmIdentity = OPEN
    receiver: Receiver = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        peers = Peers(4096, {})
        self.receiver = Receiver(
            own=signer("me").peer,
            swarm=self.swarm.id,
            encryption=self.swarm.messages,
            admission=Admission(),
            inbox=Inbox(1024, peers.trusts),
            peers=peers,
            runtime=make_runtime(
                clock=lambda: self.now, log=structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(50))
            ),
            on_change=lambda peer, state: None,
        )

    def accepts(self, names: Iterable[str]) -> None:
        """Updates of theirs were merged once."""
        for name in names:
            self.receiver.peers.merged(signer(name).peer)

    def hears(self, messages: Iterable[bytes], *, seconds: float = 0.0, medium: str = "folder", backlog: bool = False) -> int:
        """How many were taken, spread evenly over so many seconds."""
        messages = list(messages)
        taken = 0
        for message in messages:
            self.now += seconds / len(messages)
            taken += self.receiver.hear(Heard(message, backlog), medium)
        return taken

    @property
    def refusals(self) -> dict[str, int]:
        return dict(self.receiver.refusals)
