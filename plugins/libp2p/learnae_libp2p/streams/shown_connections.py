"""Connections as users see them: with how the peer was found, and how long its answers take. And who is not connected, and why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from learnae import PeerConnection, PeerId
from learnae_libp2p.streams.dialling import FROM_MDNS
from learnae_libp2p.streams.heartbeats import Heartbeats
from learnae_libp2p.streams.redialling import Redialler
from learnae_libp2p.streams.transport import Connection, Transport

STRANGER = "connected, but of another swarm or key: compare the fingerprints of learnae check"


@attrs.frozen(eq=False, kw_only=True)
class ShownConnections:
    """Puts together what all of these know. `key_of` says whom a name of the transport means."""

    transport: Transport
    heartbeats: Heartbeats
    redialler: Redialler
    key_of: Callable[[str], PeerId | None]
    is_stranger: Callable[[str], bool] = lambda peer: False

    def __call__(self) -> Sequence[PeerConnection]:
        """Those that are open come first."""
        return [*self._open(), *self._missing()]

    def _open(self) -> list[PeerConnection]:
        return [
            PeerConnection(
                peer=self.key_of(one.peer),
                found_by=self._found_by(one),
                relayed=not one.direct,
                relay=self.key_of(one.relay) if one.relay is not None else None,
                inbound=one.inbound,
                address=one.address,
                own_address=one.own_host or "",
                interface=one.interface or "",
                rtt_seconds=self.heartbeats.rtts.get(one.peer),
                bytes_in=one.bytes_in,
                bytes_out=one.bytes_out,
                why=STRANGER if self.is_stranger(one.peer) else "",
            )
            for one in self.transport.connections()
        ]

    def _found_by(self, one: Connection) -> str:
        """Who came by itself may have been met on the local network before: which of the two dials there is chance."""
        found_by = self.redialler.found_by(one.peer)
        return found_by if not one.inbound or found_by == FROM_MDNS else ""

    def _missing(self) -> list[PeerConnection]:
        return [
            PeerConnection(
                peer=self.key_of(one.peer),
                connected=False,
                found_by=one.found_by,
                address=one.addresses[0] if one.addresses else "",
                why=one.why,
                next_try_seconds=one.next_try,
            )
            for one in self.redialler.unconnected()
        ]
