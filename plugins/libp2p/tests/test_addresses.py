"""Addresses are texts of strangers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.lowlevel import Identity
from learnae_libp2p.addresses import name_of, parse_address, place_of
from learnae_libp2p.streams.transport import Scope
from tests.support.libp2p_peers import NEEDS_LIBP2P

PEER = "12D3KooWRdFFg3yTbTsDq5Z1yCvCWbqznEFro9jeVivo7rkayJ4D"


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/192.168.1.5/tcp/4101",
        f"/ip4/192.168.1.5/tcp/4101/p2p/{PEER}",
        f"/ip6/fd00::5/tcp/4101/p2p/{PEER}",
        f"/dns4/peer.example/tcp/4101/p2p/{PEER}",
    ],
)
def test_an_address_that_can_be_dialled_is_read_and_written_alike(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/ip4/1.2.3.4",
        "/ip4/1.2.3.256/tcp/1",
        "/ip4/01.2.3.4/tcp/1",
        "/ip6/fe80::1%eth0/tcp/1",
        "/ip4/1.2.3.4/tcp/65536",
        "/ip4/1.2.3.4/tcp/-1",
        "/ip4/1.2.3.4/udp/1/quic-v1",
        "/ip4/1.2.3.4/tcp/1/ws",
        f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}/p2p-circuit",
        "/unix/tmp/socket",
        "/ip4/1.2.3.4/tcp/1\n",
        "/dns4/" + "a" * 200 + "/tcp/1",
    ],
)
def test_what_is_not_dialled_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_address(text)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("/ip4/127.0.0.1/tcp/1", Scope.LOOPBACK),
        ("/ip6/::1/tcp/1", Scope.LOOPBACK),
        ("/ip4/169.254.1.1/tcp/1", Scope.LINK),
        ("/ip6/fe80::1/tcp/1", Scope.LINK),
        ("/ip4/192.168.1.5/tcp/4101", Scope.PRIVATE),
        ("/ip4/100.64.0.1/tcp/4101", Scope.PRIVATE),
        ("/ip6/fd00::1/tcp/4101", Scope.PRIVATE),
        ("/ip4/8.8.8.8/tcp/4101", Scope.PUBLIC),
        ("/ip6/2600::1/tcp/4101", Scope.PUBLIC),
    ],
)
def test_an_address_tells_from_where_it_can_be_reached(text: str, scope: Scope) -> None:
    place = place_of(text)
    assert place is not None and (place.scope, place.address) == (scope, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/dns4/example.org/tcp/4101",
        "/ip4/0.0.0.0/tcp/4101",
        "/ip4/224.0.0.1/tcp/4101",
        "/ip4/255.255.255.255/tcp/4101",
        "/ip4/192.168.1.5/tcp/0",
        "/ip6/::ffff:127.0.0.1/tcp/4101",
        "/ip6/::/tcp/4101",
        "/ip6/ff02::1/tcp/4101",
        "/ip6/64:ff9b::7f00:1/tcp/4101",
        "/ip6/2002:7f00:1::/tcp/4101",
        "/ip4/192.168.1.5/udp/4101",
    ],
)
def test_what_may_be_anybodys_address_is_told_to_nobody(text: str) -> None:
    assert place_of(text) is None


def test_a_peer_is_called_what_libp2p_calls_its_key() -> None:
    ed25519 = pytest.importorskip("libp2p.crypto.ed25519", reason=NEEDS_LIBP2P)
    ids = pytest.importorskip("libp2p.peer.id", reason=NEEDS_LIBP2P)
    key = Identity.generate(b"1" * 32).peer
    assert name_of(key) == str(ids.ID.from_pubkey(ed25519.Ed25519PublicKey.from_bytes(bytes.fromhex(key))))
