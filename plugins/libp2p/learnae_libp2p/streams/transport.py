"""What a transport must give: streams between peers that prove who they are.

Peers and addresses are text, which only the transport reads. A peer is named by its public key, and a connection is to exactly that peer,
encrypted, or it is none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import IntEnum
from typing import Protocol

import attrs

FAST_WRITE = 65_507
"""Bytes of one write that make one full frame of yamux in one message of noise: half as many writes and locks as any other length."""

FAST_READ = 1 << 18
"""Bytes that one read asks for."""


class StreamClosedError(Exception):
    """The stream has ended: the other end has reset it, or its connection is lost."""


class UnreachableError(Exception):
    """No connection to this peer can be had now, or it does not speak this protocol."""


class SilentError(UnreachableError):
    """There is a connection, and no answer came over it in time: the peer may be frozen, or the network between is gone."""


class Stream(Protocol):
    """Bytes in both directions, in order. One task reads and another may write."""

    @property
    def peer(self) -> str:
        """Who is at the other end, proven."""
        ...

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Returns when all is on its way, and the buffer may be used anew. Raises StreamClosedError."""
        ...

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        """At least one byte, at most `max_bytes`; none where the other end has said that it sends no more. Raises StreamClosedError."""
        ...

    async def aclose(self) -> None:
        """Send no more. What was sent still arrives. Raises nothing but Cancelled."""
        ...

    async def reset(self) -> None:
        """End both directions at once, also where this task is cancelled. Raises nothing."""
        ...


Handler = Callable[[Stream], Awaitable[None]]
"""Serves one stream, in a task of its own. When it ends the stream is reset; what it raises ends nothing but its stream."""


@attrs.frozen(kw_only=True)
class Connection:
    """One connection as it is now."""

    peer: str
    address: str  # of the other end
    direct: bool = True  # not through a relay
    relay: str | None = None  # the peer that carries it, where it is not direct
    bytes_per_minute: int | None = None  # that its relay carries, at most
    seen_at: str | None = None  # where its relay sees the other end
    punched: bool = False  # both ends have dialled at once: others cannot dial this address
    from_listening_port: bool = False  # this end has dialled from the port at which it listens
    inbound: bool = False  # the other end has dialled
    own_host: str | None = None  # of this end, as in `Place`; None where it is not known
    interface: str | None = None  # of this machine; None where it is not known
    bytes_in: int = 0
    bytes_out: int = 0


@attrs.frozen(kw_only=True)
class Circuit:
    """Bytes to and from a peer, which another one carries: not encrypted yet, and nobody has proven anything."""

    peer: str
    relay: str
    stream: Stream
    bytes_per_minute: int
    seen_at: str | None = None  # where the relay sees the peer


class Scope(IntEnum):
    """From where an address can be reached."""

    LOOPBACK = 0  # this machine
    LINK = 1  # its own cable
    PRIVATE = 2  # its own network
    PUBLIC = 3


@attrs.frozen(kw_only=True)
class Place:
    """An address that may be told to others. A name of a host is none: who looks it up finds what somebody else says."""

    address: str  # one spelling for all of one place, without the peer
    host: str
    scope: Scope
    peer: str | None = None  # who must be there, where the text says it


class Transport(Protocol):
    """One host. All of it is called in one trio run."""

    @property
    def peer(self) -> str:
        """This host's own name."""
        ...

    async def connect(self, peer: str, addresses: Sequence[str]) -> str | None:
        """Returns when there is a connection to this peer; at once where there is one already. Any of the addresses will do.

        Says which of them has answered; None where the peer was connected already, or has come by itself meanwhile.

        May run several times at once for one peer, with other addresses; one connection is kept. Cancelled, it leaves nothing behind.
        Raises UnreachableError, also for addresses that it cannot read.
        """
        ...

    async def disconnect(self, peer: str) -> None:
        """Close the connection to this peer, if there is one, without waiting for its answer. Raises nothing but Cancelled."""
        ...

    async def adopt(self, circuit: Circuit, *, dialled: bool) -> None:
        """Make a connection of a circuit: encrypted from end to end, and to exactly its peer. `dialled` says which end this is.

        Returns when it is there; its stream is reset when it ends. Raises UnreachableError, and may wait for the other end for ever.
        """
        ...

    async def punch(self, peer: str, addresses: Sequence[str], *, first: bool, seconds: float) -> None:
        """Dial these addresses from the port at which this host listens, again and again, while the other end does the same.

        Returns when there is a connection that is direct. `first` is true at one of the two ends. Raises UnreachableError.
        """
        ...

    async def answers(self, peer: str, address: str) -> bool:
        """Whether exactly this peer answers there now. It leaves no connection, and dials from a port where nobody has met it before."""
        ...

    def outside(self, seen_at: str) -> Sequence[str]:
        """Where others may reach this host if one of them sees it there: at that address, and with the ports at which it listens."""
        ...

    async def open_stream(self, peer: str, protocol: str) -> Stream:
        """A new stream over the open connection; it dials nobody. Raises UnreachableError, SilentError where nothing is answered.

        Cancelled, it returns at once.
        """
        ...

    def serve(self, protocol: str, handler: Handler) -> None:
        """From now on, `handler` serves each stream that others open with this protocol."""
        ...

    def connections(self) -> Sequence[Connection]:
        """Those that are open, at most one for each peer."""
        ...

    def connection(self, peer: str) -> Connection | None:
        """The one to this peer, if it is open. Asked for each piece of a transfer: it must cost little, however many others there are."""
        ...

    def local_addresses(self) -> Sequence[str]:
        """Where others can dial this host, the best first."""
        ...

    def listens_at(self) -> Sequence[str]:
        """Where this host listens: also what only this machine reaches, and what is good for nobody but its neighbours."""
        ...

    def place(self, address: str) -> Place | None:
        """What an address says, whoever wrote it. None for all that may not be told to others."""
        ...

    def watch(self, changed: Callable[[], None]) -> None:
        """From now on, call this whenever a connection has come or gone. It neither blocks nor raises."""
        ...
