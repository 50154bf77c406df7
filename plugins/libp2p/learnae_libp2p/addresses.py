"""Addresses as text: `/ip4/192.168.1.5/tcp/4101/p2p/12D3...`. Read strictly, and nothing is understood that is not dialled."""

from __future__ import annotations

import ipaddress
import re

import attrs

CHARACTERS = 200  # of one hint
MOST_PORT = 65_535

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


def parse_address(text: str) -> Address:
    """Raises ValueError for all that is not such an address, whatever it is."""
    found = _FORM.fullmatch(text) if len(text) <= CHARACTERS else None
    if found is None or int(found["port"]) > MOST_PORT:
        raise ValueError("must be an address such as /ip4/192.168.1.5/tcp/4101/p2p/12D3...")
    kind, host = found["kind"], found["host"]
    if kind in ("ip4", "ip6"):
        host = str((ipaddress.IPv4Address if kind == "ip4" else ipaddress.IPv6Address)(host))
    return Address(kind=kind, host=host, port=int(found["port"]), peer=found["peer"])
