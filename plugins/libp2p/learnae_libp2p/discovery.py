"""Peers of one swarm on one local network find each other by multicast DNS. This module is light: zeroconf comes with the library."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import trio

from learnae import Context
from learnae_libp2p.addresses import parse_address
from learnae_libp2p.streams.transport import Transport

if TYPE_CHECKING:
    from zeroconf import Zeroconf

LOOK_SECONDS = 2.0
AGAIN_SECONDS = 60.0
MOST_ADDRESSES = 4
ANSWER_MILLISECONDS = 2000
CLOSE_SECONDS = 5.0

Found = Callable[[str, Sequence[str]], None]


def service_type(channel: str) -> str:
    """Peers of other swarms neither see nor are seen; whoever does not know the channel cannot tell which swarm it is."""
    return f"_learnae-{hashlib.sha256(channel.encode()).hexdigest()[:7]}._udp.local."


def read_properties(properties: Mapping[bytes, bytes | None], own: str) -> tuple[str, list[str]] | None:
    """The peer that somebody on the network tells of, and its addresses, which lie on local networks alone. None for all else."""
    addresses: dict[str, list[str]] = {}
    for value in list(properties.values())[:MOST_ADDRESSES]:
        try:
            address = parse_address((value or b"").decode("ascii"))
        except ValueError:
            continue
        if address.peer and address.port and address.ip is not None and address.ip.is_private and not address.ip.is_unspecified:
            addresses.setdefault(address.peer, []).append(str(address))
    if len(addresses) != 1 or own in addresses:
        return None
    return next(iter(addresses.items()))


class LocalDiscovery:
    """Tells others on the networks that this peer listens at where it is, and tells `found` of those that it hears of."""

    def __init__(self, transport: Transport, context: Context, found: Found) -> None:
        self._transport = transport
        self._context = context
        self._found = found

    async def run(self) -> None:
        """Until cancelled. Where there is no multicast, it is tried again now and then."""
        token = trio.lowlevel.current_trio_token()
        while True:
            addresses = list(self._transport.local_addresses())
            if not addresses:
                await trio.sleep(LOOK_SECONDS)
                continue
            try:
                await self._while_here(addresses, token)
            except OSError as error:
                self._context.log.info("libp2p.no_mdns", error=str(error))
                await trio.sleep(AGAIN_SECONDS)

    async def _while_here(self, addresses: list[str], token: trio.lowlevel.TrioToken) -> None:
        """Until the own addresses are others. Raises OSError."""
        opened: list[Zeroconf] = []
        try:
            await self._context.in_thread(self._open, addresses, token, opened)
            while list(self._transport.local_addresses()) == addresses:  # noqa: ASYNC110  # nobody tells of a new interface
                await trio.sleep(LOOK_SECONDS)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_SECONDS):
                for one in opened:
                    await self._context.in_thread(one.close)

    def _open(self, addresses: Sequence[str], token: trio.lowlevel.TrioToken, opened: list[Zeroconf]) -> None:
        from zeroconf import ServiceBrowser, ServiceInfo, Zeroconf  # with the library

        own, kind = self._transport.peer, service_type(self._context.channel)
        read = [parse_address(text) for text in addresses]
        hosts = list({address.host for address in read if address.kind == "ip4"})
        zeroconf = Zeroconf(interfaces=hosts)
        opened.append(zeroconf)
        properties = {f"a{number}": str(address) for number, address in enumerate(read[:MOST_ADDRESSES])}
        info = ServiceInfo(
            kind,
            f"{own}.{kind}",
            port=read[0].port,
            properties=properties,
            server=f"{own}.local.",
            addresses=[ipaddress.ip_address(host).packed for host in hosts],
        )
        zeroconf.register_service(info, cooperating_responders=True)  # its name is its key: nobody else has it
        ServiceBrowser(zeroconf, kind, handlers=[self._handler(own, token)])

    def _handler(self, own: str, token: trio.lowlevel.TrioToken) -> Callable[..., None]:
        def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: Any) -> None:
            """In zeroconf's thread, for one name after the other."""
            if name.startswith(own) or state_change.name == "Removed":
                return
            info = zeroconf.get_service_info(service_type, name, timeout=ANSWER_MILLISECONDS)
            if info is None or (found := read_properties(info.properties, own)) is None:
                return
            try:
                token.run_sync_soon(self._found, *found)
            except trio.RunFinishedError:
                return

        return changed
