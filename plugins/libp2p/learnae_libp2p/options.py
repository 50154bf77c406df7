"""The keys of this plugin's tables in a peer's file. Those of the host may stand in `[storage]` or in `[announcer]`."""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv4Address
from typing import Any

import attrs
from attrs.validators import and_, ge, le, max_len, min_len, optional

from learnae import ConfigError, Problem
from learnae.lowlevel import MEGABYTE, option
from learnae_libp2p.addresses import parse_address
from learnae_libp2p.streams.relay import LEAST_BYTES_PER_MINUTE

MOST_PEERS = 64
SHOWN_CHARACTERS = 120
_HOST = re.compile(r"[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*")


def _listening(_: object, __: Any, texts: tuple[str, ...]) -> None:
    for text in texts:
        try:
            here = parse_address(text).ip is not None and "/p2p/" not in text
        except ValueError:
            here = False
        if not here:
            raise ValueError(f"must be addresses of this machine, such as /ip4/0.0.0.0/tcp/4101, not {text[:SHOWN_CHARACTERS]!r}")


def _dialled(_: object, __: Any, texts: tuple[str, ...]) -> None:
    for text in texts:
        try:
            address = parse_address(text)
            whole = address.peer is not None and address.port != 0
        except ValueError:
            whole = False
        if not whole:
            raise ValueError(f"must be {_whole(text)}, as `learnae run` shows it there, not {text[:SHOWN_CHARACTERS]!r}")


def _whole(text: str) -> str:
    """How an address is written that lacks something."""
    host, _, port = text.rpartition(":")
    if port.isdecimal() and _HOST.fullmatch(host):
        with suppress(ValueError):
            return f"/ip4/{IPv4Address(host)}/tcp/{port}/p2p/12D3... with the name of that peer"
        return f"/dns4/{host}/tcp/{port}/p2p/12D3... with the name of that peer"
    with suppress(ValueError):
        if (found := parse_address(text)).port:
            return f"{found.place}/p2p/12D3... with the name of that peer"
    return "an address with a port and the peer's name, such as /ip4/192.168.1.5/tcp/4101/p2p/12D3..."


@attrs.frozen(kw_only=True)
class HostOptions:
    """One host serves all strategies of a peer: a key may stand in one table or in several, and says the same in all of them."""

    listen: tuple[str, ...] = option(
        (),
        "Where this peer listens, such as /ip4/0.0.0.0/tcp/4101. Empty: all IPv4 addresses, any free port.",
        and_(max_len(8), _listening),
    )
    peers: tuple[str, ...] = option(
        (), "Addresses of peers to begin with, such as /ip4/192.168.1.5/tcp/4101/p2p/12D3...", and_(max_len(MOST_PEERS), _dialled)
    )
    interface: str | None = option(
        None,
        'The interface of this machine that is used, such as "wg0". Without it all are, and of each peer the fastest that answers.',
        optional(and_(min_len(1), max_len(32))),
    )
    mdns: bool = option(True, "Whether to find peers of this swarm on the local network, and to be found there.")
    connections: int = option(64, "Connections that are open at once, at most.", and_(ge(4), le(512)))
    relay_connections: bool = option(True, "Whether others may reach each other through this peer, where a router keeps them apart.")
    relayed_bytes_per_minute: int = option(
        4 * MEGABYTE,
        "Blocks that go over each connection that another peer relays, at most; and all that this one carries for each two others.",
        and_(ge(LEAST_BYTES_PER_MINUTE), le(1 << 31)),
    )


@attrs.frozen(kw_only=True)
class GossipsubOptions(HostOptions):
    """The keys of `[announcer]` with `use = "gossipsub"`."""


def agreed(first: HostOptions, second: HostOptions) -> HostOptions:
    """What both say of the host; where one says nothing of a key, what the other says. Raises ConfigError where they differ."""
    said: dict[str, Any] = {}
    for field in attrs.fields(HostOptions):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if one != other and field.default not in (one, other):
            raise ConfigError(Problem(field.name, "is one thing in one table and another in the other", "write it once: there is one host"))
        said[field.name] = other if one == field.default else one
    return HostOptions(**said)
