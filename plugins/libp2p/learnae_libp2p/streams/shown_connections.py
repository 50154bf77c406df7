"""Connections as users see them: with how the peer was found, and how long its answers take."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from learnae_libp2p.streams.address_book import AddressBook
from learnae_libp2p.streams.heartbeats import Heartbeats
from learnae_libp2p.streams.transport import Connection, Transport


@attrs.frozen(eq=False, kw_only=True)
class ShownConnections:
    """Puts together what the transport, the book and the heartbeats know."""

    transport: Transport
    book: AddressBook
    heartbeats: Heartbeats

    def __call__(self) -> Sequence[Connection]:
        """Those that are open. Who has dialled us was not found by us."""
        return [
            attrs.evolve(
                connection,
                found_by="" if connection.inbound else self.book.found_by(connection.peer),
                rtt=self.heartbeats.rtts.get(connection.peer),
            )
            for connection in self.transport.connections()
        ]
