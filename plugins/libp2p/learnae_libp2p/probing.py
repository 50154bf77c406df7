"""Looks who answers at an address, without a host: under a key that is thrown away, up to the end of the handshake."""

from __future__ import annotations

from importlib.metadata import version

import trio
from libp2p.crypto.ed25519 import create_new_key_pair as new_identity
from libp2p.crypto.x25519 import create_new_key_pair
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.exceptions import OpenConnectionError
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

from learnae import UnavailableError
from learnae_libp2p.addresses import Address
from learnae_libp2p.sockets import ClosingTCP, claim, interfaces, narrowed, reachable, resolved

__all__ = ["VERSION", "Probe", "claim", "interfaces", "narrowed", "reachable"]

VERSION = version("libp2p")
CLOSE_SECONDS = 1.0


class Probe:
    """It leaves nothing behind but connections that were closed."""

    def __init__(self, interface: str | None = None) -> None:
        self._interface = interface
        noise = NoiseTransport(new_identity(), noise_privkey=create_new_key_pair().private_key)
        self._upgrader = TransportUpgrader({NOISE: noise}, {YAMUX: Yamux})

    async def who_answers(self, address: Address) -> str:
        """The name of who is there, proven. Raises UnavailableError, OSError."""
        failure: Exception | None = None
        for found in await resolved(address):
            try:
                return await self._shake_hands(found)
            except Exception as error:  # of many kinds: of the library, of noise, of the socket
                failure = error
        raise UnavailableError(_told(failure)) from failure

    async def _shake_hands(self, address: Address) -> str:
        raw = await ClosingTCP(self._interface).dial(Multiaddr(address.place))
        try:
            connection = await self._upgrader.security_multistream.secure_outbound(raw, None)
            return str(connection.get_remote_peer())
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_SECONDS):
                await raw.close()


def _told(error: Exception | None) -> str:
    if isinstance(error, OpenConnectionError):
        return str(error.__cause__ or error)[:200]
    return "whoever answers there speaks no libp2p with noise"
