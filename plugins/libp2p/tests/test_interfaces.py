"""A machine with several interfaces: addresses of all are offered, unless one is named, and then all goes over that one."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

pytest.importorskip("libp2p", reason="needs a C compiler and headers: apt-get install build-essential python3-dev libgmp-dev")

from learnae import ConfigError, UnavailableError
from learnae.testing.context import make_context
from learnae_libp2p import sockets
from learnae_libp2p.addresses import parse_address
from learnae_libp2p.announcer import GossipsubAnnouncer
from learnae_libp2p.options import GossipsubOptions, HostOptions
from learnae_libp2p.probing import Probe
from tests.support.libp2p_peers import OpenPeer, Peer, in_trio, stranger

Plug = Callable[..., None]


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Plug:
    """Gives this machine these interfaces, by name, of which each has one address. All of 127 is here."""

    def plugged(**addresses: str) -> None:
        found = {name: [SimpleNamespace(family=socket.AF_INET, address=one, netmask="255.0.0.0")] for name, one in addresses.items()}
        monkeypatch.setattr(sockets.psutil, "net_if_addrs", lambda: found)
        monkeypatch.setattr(sockets.psutil, "net_if_stats", lambda: {name: SimpleNamespace(isup=True) for name in found})

    return plugged


def hosts(peer: Peer) -> list[str]:
    return [parse_address(text).host for text in peer.transport.local_addresses()]


def test_addresses_of_all_interfaces_are_offered_and_each_of_them_answers(open_peer: OpenPeer, plug: Plug) -> None:
    plug(wlan0="127.0.0.7", wg0="127.0.0.8")

    async def test() -> None:
        async with open_peer("a", HostOptions()) as a:
            assert hosts(a) == ["127.0.0.7", "127.0.0.8"]
            for address in a.transport.local_addresses():
                async with open_peer("b", HostOptions()) as b:
                    await b.transport.connect(a.transport.peer, [address])
                    assert [one.address for one in b.transport.connections()] == [address.partition("/p2p/")[0]]

    in_trio(test)


def test_all_goes_over_the_interface_that_is_named(open_peer: OpenPeer, plug: Plug) -> None:
    plug(wlan0="127.0.0.7", wg0="127.0.0.8")

    async def test() -> None:
        async with open_peer("a", HostOptions(interface="wg0")) as a, open_peer("b") as b:
            assert hosts(a) == ["127.0.0.8"]
            await a.meets(b)
            (connection,) = a.transport.connections()
            assert (connection.own_host, connection.interface) == ("127.0.0.8", "wg0")
            await b.until(lambda: bool(b.transport.connections()))
            assert "/127.0.0.8/" in b.transport.connections()[0].address

    in_trio(test)


@pytest.mark.parametrize("by", ["host", "check"])
def test_who_looks_whether_another_answers_does_so_over_the_interface_that_is_named(open_peer: OpenPeer, plug: Plug, by: str) -> None:
    plug(wlan0="127.0.0.7", wg0="127.0.0.8")
    came_from: list[str] = []

    async def hang_up(stream: trio.SocketStream) -> None:
        came_from.append(stream.socket.getpeername()[0])

    async def test() -> None:
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, hang_up, [listener])
            address = f"/ip4/127.0.0.1/tcp/{listener.socket.getsockname()[1]}"
            if by == "host":
                async with open_peer("a", HostOptions(interface="wg0")) as a:
                    assert not await a.transport.answers(stranger(), address)
            else:
                with pytest.raises(UnavailableError):
                    await Probe("wg0").who_answers(parse_address(address))
            nursery.cancel_scope.cancel()
        assert came_from == ["127.0.0.8"]

    in_trio(test)


def test_where_its_address_changes_it_listens_anew_at_the_same_port(open_peer: OpenPeer, plug: Plug) -> None:
    plug(wg0="127.0.0.8")

    async def test() -> None:
        async with open_peer("a", HostOptions(interface="wg0")) as a:
            (before,) = map(parse_address, a.transport.local_addresses())
            plug(wg0="127.0.0.9")
            await a.until(lambda: a.host.times_built == 2 and a.host.running is not None)
            (after,) = map(parse_address, a.transport.local_addresses())
            assert (after.host, after.port, after.peer) == ("127.0.0.9", before.port, before.peer)

    in_trio(test)


def test_an_interface_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, plug: Plug) -> None:
    plug(wlan0="127.0.0.7")

    async def test() -> None:
        announcer = GossipsubAnnouncer(GossipsubOptions(interface="wg0", mdns=False), make_context(tmp_path, peer="a"))
        with pytest.raises(ConfigError) as caught:
            await announcer.check()
        (problem,) = caught.value.problems
        assert problem.key == "announcer.interface" and "wg0" in problem.message and "wlan0" in str(problem.suggestion)
        with pytest.RaisesGroup(pytest.RaisesExc(UnavailableError, match="wg0")):
            async with announcer:
                raise AssertionError("it runs")

    in_trio(test)
