"""A port that stays: other peers keep the addresses that they were told."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Sequence

_ANY = re.compile(r"/(ip4|ip6)/([^/]+)/tcp/0")
FAMILIES = {"ip4": socket.AF_INET, "ip6": socket.AF_INET6}


def settled(listen: Sequence[str], before: Sequence[str]) -> list[str]:
    """Each address with port 0 gets a free one: that of last time, where it is still free."""
    return [_settled(address, before) for address in listen]


def _settled(address: str, before: Sequence[str]) -> str:
    match = _ANY.fullmatch(address)
    if match is None:
        return address
    family, host = FAMILIES[match[1]], match[2]
    stem = address.removesuffix("0")
    used = [int(old.removeprefix(stem)) for old in before if old.startswith(stem) and old.removeprefix(stem).isdigit()]
    for port in (*used, 0):
        with contextlib.suppress(OSError, OverflowError), socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return f"{stem}{probe.getsockname()[1]}"
    return address
