"""Connections that come otherwise than by dialling an address: over what another peer carries, or where both ends dial at one moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from learnae import UnavailableError
from learnae_libp2p.addresses import Address
from learnae_libp2p.running import RunningHost
from learnae_libp2p.sockets import CarriedSocket, ClosingTCP, CountedSocket, dial_from, raw_connection
from learnae_libp2p.streams.transport import Circuit

AGAIN_SECONDS = 0.2
CLOSE_SECONDS = 1.0
MOST_MEETING = 4  # handshakes with whoever comes from where one is expected


async def adopt(running: RunningHost, circuit: Circuit, *, dialled: bool) -> None:
    """Shake hands over what another peer carries, as over any socket. Raises UnavailableError."""
    raw, failure = CarriedSocket(circuit), list[Exception]()
    if dialled:
        try:
            await running.network.upgrade_outbound_raw_conn(raw_connection(raw, initiator=True), ID.from_string(circuit.peer))
        except Exception as error:  # of many kinds: of the library, of noise, of the stream
            failure.append(error)
    else:
        await _served(running, raw, circuit.peer, failure)
    if failure or not running.connected(circuit.peer):
        raise UnavailableError(f"no connection through {circuit.relay}: {failure}"[:300])


async def punch(running: RunningHost, peer: str, addresses: Sequence[Address], *, first: bool, seconds: float) -> None:
    """Dial until a direct connection is there, however it has come. Raises UnavailableError.

    Of two dials at one moment the kernel makes one connection, or hands one of them to whoever listens: `first` tells who speaks first.
    """
    done, meeting = trio.Event(), 0

    async def meet(raw: CountedSocket) -> None:
        nonlocal meeting
        if meeting >= MOST_MEETING:
            await _close(raw)
            return
        meeting += 1
        raw.punched = True
        try:
            with suppress(Exception):  # of many kinds, as in `adopt`
                if first:
                    await running.network.upgrade_outbound_raw_conn(raw_connection(raw, initiator=True), ID.from_string(peer))
                else:
                    await _served(running, raw, peer, list[Exception]())
        finally:
            meeting -= 1
        if running.connected_directly(peer):
            done.set()

    async def meet_inbound(raw: CountedSocket) -> None:
        """The listener closes what it has handed over when this returns."""
        await meet(raw)
        await running.ended(raw)

    hosts = {address.host for address in addresses} - running.network.meetings.keys()
    running.network.meetings |= dict.fromkeys(hosts, meet_inbound)
    try:
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as dialling:
                for address in addresses:
                    dialling.start_soon(_dial_again, running, address, meet)
                await done.wait()
                dialling.cancel_scope.cancel()
    finally:
        for host in hosts:
            del running.network.meetings[host]
    if not running.connected_directly(peer):
        raise UnavailableError(f"{peer} was not met at {', '.join(map(str, addresses))}"[:300])


async def answers(running: RunningHost, peer: str, address: Address) -> bool:
    """Whether exactly this peer shakes hands there, dialled from any free port."""
    raw = None
    try:
        raw = await ClosingTCP(running.tcp.interface).dial(Multiaddr(address.place))
        await running.network.upgrader.upgrade_security(raw, True, ID.from_string(peer))
    except Exception:  # of many kinds, as in `adopt`
        return False
    else:
        return True
    finally:
        if raw is not None:
            await _close(raw.stream)


async def _dial_again(running: RunningHost, address: Address, meet: Callable[[CountedSocket], Awaitable[None]]) -> None:
    """Each try opens our own router for what the other end sends."""
    source = next((one for one in running.tcp.listens if one.kind == address.kind), None)
    while source is not None:
        with suppress(OSError):
            await meet(await dial_from(source, address))
        await trio.sleep(AGAIN_SECONDS)


async def _served(running: RunningHost, raw: CountedSocket | CarriedSocket, peer: str, failure: list[Exception]) -> None:
    """Returns when this peer has shaken hands, or nobody has; the connection lives on."""
    over = trio.Event()

    async def serve() -> None:
        try:
            await running.network.serve_inbound(raw, peer, over.set)
        except Exception as error:  # of many kinds, as in `adopt`
            failure.append(error)
        finally:
            over.set()

    running.start_soon(serve)
    await over.wait()


async def _close(raw: CountedSocket | CarriedSocket) -> None:
    with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_SECONDS), suppress(Exception):  # it is closed already
        await raw.close()
