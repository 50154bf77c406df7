"""Peers on one network find each other with no address in their files."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from learnae.testing.context import make_context
from learnae_libp2p.announcer import GossipsubAnnouncer
from learnae_libp2p.discovery import read_properties, service_type
from learnae_libp2p.options import GossipsubOptions
from tests.support.libp2p_peers import LOOPBACK, NEEDS_LIBP2P, in_trio

PEER = "12D3KooWRdFFg3yTbTsDq5Z1yCvCWbqznEFro9jeVivo7rkayJ4D"
OWN = "12D3KooWGSrXQQXYp31AUbZ64eJMb3hGywN4dmzpaZW3rWW22EfF"
HERE = f"/ip4/192.168.1.5/tcp/4101/p2p/{PEER}"


@pytest.mark.slow  # multicast DNS asks in seconds
def test_two_peers_of_one_swarm_find_each_other_on_loopback(tmp_path: Path) -> None:
    pytest.importorskip("libp2p", reason=NEEDS_LIBP2P)
    channel = uuid.uuid4().hex  # other tests run on this machine, too

    async def test() -> None:
        contexts = [make_context(tmp_path / name, peer=name, channel=channel) for name in "ab"]
        made = [GossipsubAnnouncer(GossipsubOptions(listen=LOOPBACK), context) for context in contexts]
        async with made[0] as a, made[1]:
            while not a.transport.connections():
                await a.host.news.wait()

    in_trio(test)


def test_a_swarm_has_a_name_of_its_own_on_the_network_that_does_not_tell_which_it_is() -> None:
    assert service_type("digits") != service_type("letters")
    assert "digits" not in service_type("digits") and len(service_type("digits").split(".")[0]) <= 16


def test_what_is_said_of_a_peer_on_the_local_network_is_read() -> None:
    assert read_properties({b"a0": HERE.encode()}, OWN) == (PEER, [HERE])


@pytest.mark.parametrize(
    "values",
    [
        (),
        (None,),
        (b"",),
        (b"\xff",),
        (f"/ip4/8.8.8.8/tcp/4101/p2p/{PEER}".encode(),),
        (b"/ip4/192.168.1.5/tcp/4101",),
        (f"/dns4/router.local/tcp/1/p2p/{PEER}".encode(),),
        (HERE.encode(), HERE.replace(PEER, OWN[:-1] + "G").encode()),
        (HERE.replace(PEER, OWN).encode(),),
        (HERE.replace("4101", "0").encode(),),
    ],
)
def test_what_names_nobody_on_a_local_network_or_ourselves_is_passed_over(values: tuple[bytes | None, ...]) -> None:
    assert read_properties({b"%d" % number: value for number, value in enumerate(values)}, OWN) is None
