"""What the demo stands on, and that nothing of it is left when it is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from learnae.cli.main import main
from learnae.demo import scenery
from learnae.demo.family import descendants
from learnae.demo.plan import Plan, Stage
from learnae.identity.swarm_keys import SwarmKey


def test_the_embedded_storage_needs_no_scenery(tmp_path: Path) -> None:
    assert scenery.plan("directory", Stage(tmp_path)) == Plan()
    assert list(tmp_path.iterdir()) == []


def test_another_storage_is_in_the_file_of_each_peer_of_a_private_swarm(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    config = Plan.from_json(scenery.plan("ipfs", stage).to_json()).config(3)
    assert config["storage"] == [{"use": "ipfs", "listen": ["/ip4/127.0.0.1/tcp/0"]}]
    assert config["swarm"] == {"name": "demo", "key_file": str(stage.key)}
    assert config["train"] == Plan().config(3)["train"]
    SwarmKey.parse(stage.key.read_text())
    assert stage.key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("chosen", "told"),
    [("ipsf", 'no storage is called "ipsf"'), ("ipfs", "install Kubo")],
)
def test_a_storage_that_cannot_be_had_is_told_before_anything_starts(
    chosen: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--storage", chosen]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux: only there is it told who started whom")
def test_children_of_children_are_found() -> None:
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        assert len(descendants([process.pid])) == 1
        process.communicate(b"\n")
