"""`learnae demo --storage libp2p --announcer gossipsub`: all peers know one other peer at first, and that one is killed half-way."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from learnae import ConfigError, DemoSetup, PeerId, Problem
from learnae_libp2p.addresses import name_of
from learnae_libp2p.host import INSTALL

LOOPBACK = "/ip4/127.0.0.1/tcp"


@contextmanager
def one_introduces(_: Path) -> Iterator[DemoSetup]:
    """Nothing is started here: the peers connect to each other. Raises ConfigError where libp2p is not installed."""
    if importlib.util.find_spec("libp2p") is None:
        raise ConfigError(Problem("use", "needs libp2p, which is not installed", INSTALL))
    yield DemoSetup(for_each=_addresses)


def _addresses(peers: Sequence[PeerId], killed: int) -> list[DemoSetup]:
    """The one that is killed has the only address that is known to the others, also when it comes back."""
    place = f"{LOOPBACK}/{_free_port()}"
    others = {"listen": [f"{LOOPBACK}/0"], "peers": [f"{place}/p2p/{name_of(peers[killed])}"], "mdns": False}
    keys = [{"listen": [place], "mdns": False} if number == killed else others for number in range(len(peers))]
    return [DemoSetup(storage=each, announcer=each) for each in keys]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
