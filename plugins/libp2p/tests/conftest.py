"""Real hosts on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.libp2p_peers import OpenPeer, peers_in


@pytest.fixture
def open_peer(tmp_path: Path) -> OpenPeer:
    return peers_in(tmp_path)
