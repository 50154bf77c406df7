"""Asks peers where they see this machine, without a host: under a key that is thrown away, from the port at which the host would listen."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import attrs
import trio
from libp2p.crypto.ed25519 import create_new_key_pair as new_identity
from libp2p.crypto.x25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.upgrader import TransportUpgrader

from learnae_libp2p.addresses import Address, parse_address, place_of
from learnae_libp2p.sockets import CountedSocket, dial_from, raw_connection, reachable, resolved
from learnae_libp2p.streams.greeting import SwarmProof
from learnae_libp2p.streams.outside_views import OutsideView, OutsideViews
from learnae_libp2p.streams.reachability import OUTSIDE_PROTOCOL, look
from learnae_libp2p.streams.transport import StreamClosedError

SECONDS = 12.0  # who is asked dials this machine in vain for three of them
CLOSE_SECONDS = 1.0
MOST_ACCEPTED = 16


@attrs.define(eq=False)
class _MuxedStream:
    """A stream of the multiplexer's under the names of ours."""

    _stream: Any
    peer: str

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._stream.write(bytes(data))
        except Exception as error:  # the library's many
            raise StreamClosedError(str(error)) from error

    async def receive_some(self, max_bytes: int) -> bytes:
        try:
            data: bytes = await self._stream.read(max_bytes)
        except Exception as error:
            raise StreamClosedError(str(error)) from error
        return data

    async def aclose(self) -> None:
        """It is reset."""
        await self.reset()

    async def reset(self) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_SECONDS), suppress(Exception):  # it has ended already
            await self._stream.reset()


class OutsideLook:
    """What it opens is closed when it ends."""

    def __init__(self, secret: bytes | None, channel: str) -> None:
        identity = new_identity()
        self.name = str(ID.from_pubkey(identity.public_key))
        self._proof = SwarmProof.of(self.name, secret, channel, lambda: secrets.token_bytes(32))
        noise = NoiseTransport(identity, noise_privkey=create_new_key_pair().private_key)
        self._upgrader = TransportUpgrader({NOISE: noise}, {YAMUX: Yamux})

    async def seen_by(self, peers: Sequence[Address], listen: Address) -> OutsideViews:
        """What those say who answer in time. While they try, this machine listens there. Raises OSError where it cannot."""
        found: list[OutsideView] = []
        with trio.socket.socket(socket.AF_INET6 if listen.kind == "ip6" else socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            await listener.bind((listen.host, listen.port))
            listener.listen(MOST_ACCEPTED)
            here = attrs.evolve(listen, port=listener.getsockname()[1])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._accept, listener)
                async with trio.open_nursery() as asking:
                    for peer in peers:
                        asking.start_soon(self._ask, peer, here, found)
                nursery.cancel_scope.cancel()
        own = [place.host for kind in ("/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0") for place in reachable(parse_address(kind))]
        return OutsideViews(found, frozenset(own))

    async def _accept(self, listener: trio.socket.SocketType) -> None:
        """Prove to whoever dials that it is this peer's name that answers."""
        async with trio.open_nursery() as nursery:
            for _ in range(MOST_ACCEPTED):
                found, _ = await listener.accept()
                nursery.start_soon(self._answer, CountedSocket(trio.SocketStream(found)))

    async def _answer(self, raw: CountedSocket) -> None:
        try:
            with trio.move_on_after(SECONDS), suppress(Exception):  # of many kinds: their loss
                await self._upgrader.upgrade_security(raw_connection(raw, initiator=False), False)
                await raw.read(1)  # until it has hung up
        finally:
            await _close(raw)

    async def _ask(self, peer: Address, here: Address, found: list[OutsideView]) -> None:
        with trio.move_on_after(SECONDS), suppress(Exception):  # of many kinds: it does not answer, or does not speak this
            found.append(await self._asked(peer, here))

    async def _asked(self, peer: Address, here: Address) -> OutsideView:
        there = (await resolved(peer))[0]
        own = here.host if here.ip is not None and not here.ip.is_unspecified else None
        try:
            raw = await dial_from(here, there)
        except OSError:
            raw = CountedSocket(await trio.open_tcp_stream(there.host, there.port, local_address=own))
        try:
            name = ID.from_string(peer.peer or "")
            secured = await self._upgrader.upgrade_security(raw_connection(raw, initiator=True), True, name)
            muxed: Any = await self._upgrader.upgrade_connection(secured, name)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(muxed.start)
                await muxed.event_started.wait()
                stream = await muxed.open_stream()
                await MultiselectClient().select_one_of([OUTSIDE_PROTOCOL], MultiselectCommunicator(stream))

                def outside(seen_at: str) -> list[str]:
                    return list(dict.fromkeys((attrs.evolve(parse_address(seen_at), port=here.port).place, seen_at)))

                seen = await look(_MuxedStream(stream, peer.peer or ""), self._proof, place_of, outside, mapped=raw.from_listening_port)
                nursery.cancel_scope.cancel()
            return seen
        finally:
            await _close(raw)


async def _close(raw: CountedSocket) -> None:
    with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_SECONDS), suppress(Exception):  # it is closed already
        await raw.close()
