"""Connections as users see them: with how the peer was found, and how long its answers take. And who is not connected, and why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from learnae import PeerConnection, PeerId
from learnae_libp2p.streams.address_book import AddressBook
from learnae_libp2p.streams.heartbeats import Heartbeats
from learnae_libp2p.streams.redialling import Redialler
from learnae_libp2p.streams.transport import Transport


@attrs.frozen(eq=False, kw_only=True)
class ShownConnections:
    """Puts together what all of these know. `key_of` says whom a name of the transport means."""

    transport: Transport
    book: AddressBook
    heartbeats: Heartbeats
    redialler: Redialler
    key_of: Callable[[str], PeerId | None]

    def __call__(self) -> Sequence[PeerConnection]:
        """Those that are open come first. Who has dialled us was not found by us."""
        return [*self._open(), *self._missing()]

    def _open(self) -> list[PeerConnection]:
        return [
            PeerConnection(
                peer=self.key_of(one.peer),
                found_by="" if one.inbound else self.book.found_by(one.peer),
                relayed=not one.direct,
                relay=self.key_of(one.relay) if one.relay is not None else None,
                inbound=one.inbound,
                address=one.address,
                own_address=one.own_host or "",
                interface=one.interface or "",
                rtt_seconds=self.heartbeats.rtts.get(one.peer),
                bytes_in=one.bytes_in,
                bytes_out=one.bytes_out,
            )
            for one in self.transport.connections()
        ]

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
