"""The demo without any daemon: three peers know one address, and it is that peer which is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from learnae import ConfigError, PeerId
from learnae_libp2p import demo
from learnae_libp2p.addresses import name_of, parse_address
from tests.support.libp2p_peers import NEEDS_LIBP2P

pytest.importorskip("libp2p", reason=NEEDS_LIBP2P)

LIMIT_SECONDS = 500.0


def test_all_name_the_one_that_is_killed_and_it_names_nobody(tmp_path: Path) -> None:
    peers = [PeerId(f"{number:064x}") for number in range(4)]
    with demo.one_introduces(tmp_path) as setup:
        assert setup.for_each is not None
        each = setup.for_each(peers, 1)
    (place,) = each[1].storage["listen"]
    assert "peers" not in each[1].storage and parse_address(place).port
    named = {"listen": [f"{demo.LOOPBACK}/0"], "peers": [f"{place}/p2p/{name_of(peers[1])}"], "mdns": False}
    for other in (each[0], each[2], each[3]):
        assert other.storage == other.announcer == named


def test_without_libp2p_the_demo_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="libgmp-dev"), demo.one_introduces(tmp_path):
        raise AssertionError("it was played")


@pytest.mark.slow
def test_the_demo_goes_on_when_the_peer_that_introduced_all_others_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install learnae[demo]")
    command = [sys.executable, "-m", "learnae", "demo", "--storage", "libp2p", "--announcer", "gossipsub", "--out", str(tmp_path / "out")]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = ["SIGKILL to its trainer, its node and all that they run", "since it came back"]
    assert [line for line in told if line not in done.stdout] == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
