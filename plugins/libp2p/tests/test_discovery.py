"""Peers on one network find each other with no address in their files, whatever else is said on that network."""

from __future__ import annotations

import ipaddress
import socket
import uuid
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from learnae import Context
from learnae.testing.context import make_context, peer_named
from learnae_libp2p.announcer import GossipsubAnnouncer
from learnae_libp2p.discovery import (
    GROUP,
    MOST_FOUND,
    MOST_OF_HOST,
    PORT,
    WINDOW_SECONDS,
    Beacon,
    LocalDiscovery,
    Newcomers,
    networks_of,
    service_name,
)
from learnae_libp2p.options import GossipsubOptions
from tests.support.libp2p_peers import LOOPBACK, NEEDS_LIBP2P, in_trio

pytest.importorskip("libp2p", reason=NEEDS_LIBP2P)

HERE = [ipaddress.IPv4Network("192.168.1.0/24")]
ALICE = peer_named("alice")


@attrs.frozen
class OwnName:
    """All of a transport that is asked here."""

    peer: str = "own"


def context_of(swarm: str = "c", secret: bytes | None = None) -> Context:
    return make_context(Path("nowhere"), channel=swarm, secret=lambda purpose: secret)


def discovery(context: Context) -> tuple[LocalDiscovery, list[tuple[str, Sequence[str]]]]:
    found: list[tuple[str, Sequence[str]]] = []
    made = LocalDiscovery(OwnName(), context, lambda peer, addresses: found.append((peer, addresses)))  # type: ignore[arg-type]
    made._newcomers.clock = lambda: 0.0
    return made, found


def say_on_loopback(*datagrams: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as evil:
        evil.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        for datagram in datagrams:
            evil.sendto(datagram, (GROUP, PORT))


def pointers(channel: str, number: int) -> bytes:
    """A name that leads nowhere, with what acts in a terminal, as any program on the network can announce it."""
    kind, instance = service_name(channel), b"\x1b]0;bad\x07\n%d" % number
    target = bytes([len(instance)]) + instance + kind
    return b"\0\0\x84\0\0\0\0\x01\0\0\0\0" + kind + b"\0\x0c\0\x01\0\0\x11\x94" + len(target).to_bytes(2, "big") + target


@pytest.mark.parametrize("attacked", [False, True])
def test_two_peers_of_one_swarm_find_each_other_on_loopback_whatever_else_is_said_there(tmp_path: Path, attacked: bool) -> None:
    channel = uuid.uuid4().hex  # other tests run on this machine, too

    async def test() -> None:
        contexts = [make_context(tmp_path / name, peer=name, channel=channel) for name in "ab"]
        made = [GossipsubAnnouncer(GossipsubOptions(listen=LOOPBACK), context) for context in contexts]
        async with made[0] as a, trio.open_nursery() as nursery:

            async def attack() -> None:
                while True:
                    say_on_loopback(*(pointers(channel, number) for number in range(20)), b"", bytes(1400))
                    await trio.sleep(0.05)

            if attacked:
                nursery.start_soon(attack)
            async with made[1]:
                while not a.transport.connections():
                    await a.host.news.wait()
            nursery.cancel_scope.cancel()

    in_trio(test)


def test_a_swarm_has_a_name_of_its_own_on_the_network_that_does_not_tell_which_it_is() -> None:
    assert service_name("digits") != service_name("letters")
    assert b"digits" not in service_name("digits") and service_name("digits")[0] <= 16


def test_what_a_peer_says_is_read_by_those_of_its_swarm_and_only_from_where_it_is() -> None:
    beacon = Beacon.of(context_of())
    said = beacon.write(ALICE, "192.168.1.5", 4101)
    assert beacon.read(said, "192.168.1.5") == (ALICE, 4101)
    assert beacon.read(said, "192.168.1.77") is None, "somebody else says it again, to have a third machine dialled"
    assert Beacon.of(context_of("another")).read(said, "192.168.1.5") is None
    assert beacon.read(beacon.write(ALICE, "192.168.1.5", 0), "192.168.1.5") is None


def test_in_a_private_swarm_only_members_can_say_it() -> None:
    ours, theirs = Beacon.of(context_of(secret=b"k" * 32)), Beacon.of(context_of())
    assert ours.read(theirs.write(ALICE, "192.168.1.5", 4101), "192.168.1.5") is None
    assert ours.read(ours.write(ALICE, "192.168.1.5", 4101), "192.168.1.5") == (ALICE, 4101)


def test_who_is_on_another_network_is_passed_over() -> None:
    context = context_of()
    made, found = discovery(context)
    for host in ("192.168.1.5", "10.0.0.1", "127.0.0.1", "8.8.8.8"):
        made.hear(Beacon.of(context).write(ALICE, host, 4101), host, HERE)
    assert [addresses for _, addresses in found] == [[f"/ip4/192.168.1.5/tcp/4101/p2p/{found[0][0]}"]]


def test_of_very_many_few_are_told_and_those_who_came_first_from_elsewhere_are_among_them() -> None:
    context = context_of()
    made, found = discovery(context)
    beacon = Beacon.of(context)
    for number in range(1000):
        made.hear(beacon.write(peer_named(f"evil {number}"), "192.168.1.66", 4101), "192.168.1.66", HERE)
    made.hear(beacon.write(ALICE, "192.168.1.5", 4101), "192.168.1.5", HERE)
    assert len(found) == MOST_OF_HOST + 1 and "/ip4/192.168.1.5/" in found[-1][1][0]
    for number in range(1000):
        host = f"192.168.1.{number % 250}"
        made.hear(beacon.write(peer_named(f"more {number}"), host, 4101), host, HERE)
    assert len(found) <= MOST_FOUND


def test_who_is_still_there_after_a_while_is_told_again() -> None:
    now = 0.0
    newcomers = Newcomers(clock=lambda: now)
    assert newcomers.add(ALICE, "h", 1) and not newcomers.add(ALICE, "h", 1)
    now = WINDOW_SECONDS + 1
    assert newcomers.add(ALICE, "h", 1)


@given(st.binary(max_size=1500) | st.binary(max_size=60).map(lambda tail: Beacon.of(context_of()).start + tail))
def test_whatever_else_is_said_is_passed_over(datagram: bytes) -> None:
    made, found = discovery(context_of())
    made.hear(datagram, "192.168.1.5", HERE)
    assert found == []


def test_the_network_of_loopback_is_this_machine() -> None:
    assert networks_of(["127.0.0.1"]) == [ipaddress.IPv4Network("127.0.0.0/8")]
