"""Where a peer is that others reach through a third one: `/p2p/THIRD/p2p-circuit/p2p/PEER`. Where the third one is, they must know."""

from __future__ import annotations

import re

import attrs

from learnae_libp2p.streams.transport import Place, Scope, Transport

_NAME = r"[0-9A-Za-z._-]{1,64}"
_FORM = re.compile(rf"/p2p/(?P<relay>{_NAME})/p2p-circuit/p2p/(?P<peer>{_NAME})")


@attrs.frozen
class CircuitAddress:
    """A peer, and who relays what it is sent."""

    relay: str
    peer: str

    def __str__(self) -> str:
        return f"/p2p/{self.relay}/p2p-circuit/p2p/{self.peer}"


def read_circuit(text: str) -> CircuitAddress | None:
    """None for all that is no such address."""
    found = _FORM.fullmatch(text) if len(text) <= 200 else None
    return CircuitAddress(found["relay"], found["peer"]) if found is not None else None


def place_at(transport: Transport, text: str) -> Place | None:
    """As `Transport.place`, also for these: the relay counts as the host, and may be asked from anywhere."""
    if (circuit := read_circuit(text)) is None:
        return transport.place(text)
    return Place(address=text, host=f"p2p/{circuit.relay}", scope=Scope.PUBLIC, peer=circuit.peer)


def is_direct(transport: Transport, peer: str) -> bool:
    """Whether there is a connection to this peer that nobody relays."""
    connection = transport.connection(peer)
    return connection is not None and connection.direct
