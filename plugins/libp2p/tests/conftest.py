"""Real hosts on loopback, and in networks of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.libp2p.tests.support.namespaces import what_is_missing
from tests.support.libp2p_peers import OpenPeer, peers_in


@pytest.fixture
def open_peer(tmp_path: Path) -> OpenPeer:
    return peers_in(tmp_path)


@pytest.fixture(scope="session")
def networks() -> None:
    """Skips where no network of its own can be made."""
    if (reason := what_is_missing()) is not None:
        pytest.skip(reason)
