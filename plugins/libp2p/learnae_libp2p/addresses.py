"""Addresses as text: `/ip4/192.168.1.5/tcp/4101/p2p/12D3...`. Read strictly, and nothing is understood that is not dialled."""

from __future__ import annotations

import ipaddress
import re

import attrs

from learnae import PeerId
from learnae_libp2p.streams.transport import Place, Scope

CHARACTERS = 200  # of one hint
MOST_PORT = 65_535
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")

_HOST = r"/(?P<kind>ip4|ip6|dns|dns4|dns6)/(?P<host>[0-9A-Za-z.:_-]{1,100})"
_FORM = re.compile(_HOST + r"/tcp/(?P<port>[0-9]{1,5})(?:/p2p/(?P<peer>[1-9A-HJ-NP-Za-km-z]{1,64}))?")


@attrs.frozen(kw_only=True)
class Address:
    """Where a peer may be, and who must be there if that is known."""

    kind: str
    host: str
    port: int
    peer: str | None = None

    @property
    def place(self) -> str:
        """Without the peer."""
        return f"/{self.kind}/{self.host}/tcp/{self.port}"

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """None for a name."""
        return ipaddress.ip_address(self.host) if self.kind in ("ip4", "ip6") else None

    @property
    def local(self) -> bool:
        """Whether only this machine, or only its own cable, reaches it."""
        return self.ip is not None and (self.ip.is_loopback or self.ip.is_link_local)

    def __str__(self) -> str:
        return f"{self.place}/p2p/{self.peer}" if self.peer else self.place


ED25519 = bytes.fromhex("002408011220")  # a hash that is its content (0, of 36 bytes): a public key of kind 1, of 32 bytes
KEY_BYTES = 32


def name_of(peer: PeerId) -> str:
    """What libp2p calls a peer: its public key, in base 58 (github.com/libp2p/specs, peer-ids)."""
    import base58  # comes with libp2p

    return str(base58.b58encode(ED25519 + bytes.fromhex(peer)).decode("ascii"))


def key_of(name: str) -> PeerId | None:
    """The peer that libp2p calls so; None for one whose key is of another kind."""
    import base58  # comes with libp2p

    try:
        read: bytes = base58.b58decode(name)
    except ValueError:
        return None
    return PeerId(read[len(ED25519) :].hex()) if read.startswith(ED25519) and len(read) == len(ED25519) + KEY_BYTES else None


def parse_address(text: str) -> Address:
    """Raises ValueError for all that is not such an address, whatever it is."""
    found = _FORM.fullmatch(text) if len(text) <= CHARACTERS else None
    if found is None or int(found["port"]) > MOST_PORT:
        raise ValueError("must be an address such as /ip4/192.168.1.5/tcp/4101/p2p/12D3...")
    kind, host = found["kind"], found["host"]
    if kind in ("ip4", "ip6"):
        host = str((ipaddress.IPv4Address if kind == "ip4" else ipaddress.IPv6Address)(host))
    return Address(kind=kind, host=host, port=int(found["port"]), peer=found["peer"])


def counted_with(text: str) -> str:
    """What connections have in common that are counted together: the host, the network of a host of IPv6, or who relays."""
    _, kind, host, *_ = [*text.split("/"), "", "", ""]
    if kind != "ip6":
        return f"p2p/{host}" if kind == "p2p" else host
    return str(ipaddress.IPv6Network(f"{host}/64", strict=False))


def place_of(text: str) -> Place | None:
    """None for what is no address, or one that may not be told to others: a name, or no address of one machine."""
    try:
        address = parse_address(text)
    except ValueError:
        return None
    ip = address.ip
    if ip is None or not address.port or ip.is_unspecified or ip.is_multicast or _leads_elsewhere(ip):
        return None
    if ip.is_loopback:
        scope = Scope.LOOPBACK
    elif ip.is_link_local:
        scope = Scope.LINK
    else:
        scope = Scope.PUBLIC if ip.is_global else Scope.PRIVATE
    return Place(address=address.place, host=address.host, scope=scope, peer=address.peer)


def _leads_elsewhere(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether it stands for many machines, or for an IPv4 address, by which the scope of both would have to be told."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip == ipaddress.IPv4Address("255.255.255.255")
    return ip in _TRANSLATED or any(part is not None for part in (ip.ipv4_mapped, ip.sixtofour, ip.teredo))
