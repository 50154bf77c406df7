"""What the demo stands on, and that nothing of it is left when it is killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from learnae.cli.main import main
from learnae.demo import show
from learnae.demo.processes import Plan, Stage, descendants
from learnae.identity.swarms import SwarmKey


def test_the_embedded_defaults_need_no_scenery(tmp_path: Path) -> None:
    with show.built({"storage": "directory", "announcer": "directory"}, Stage(tmp_path)) as scene:
        assert scene == show.Scene(Plan())
    assert list(tmp_path.iterdir()) == []


def test_another_storage_is_in_the_file_of_each_peer_of_a_private_swarm(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    with show.built({"storage": "ipfs", "announcer": "directory"}, stage) as scene:
        config = Plan.from_json(scene.plan.to_json()).config(3)
    assert config["storage"] == [{"use": "ipfs", "listen": ["/ip4/127.0.0.1/tcp/0"]}]
    assert config["swarm"] == {"name": "demo", "key_file": str(stage.key)}
    assert config["train"] == Plan().config(3)["train"]
    SwarmKey.parse(stage.key.read_text())
    assert stage.key.stat().st_mode & 0o777 == 0o600


@contextmanager
def house(folder: Path) -> Iterator[show.Built]:
    folder.mkdir()
    yield show.Built({"nodes": [folder.name]}, lambda: "the roof has gone")
    folder.rmdir()


def test_what_has_to_run_is_built_first_and_torn_down_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(show.BUILDERS, "house", f"{__name__}:house")
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(house=house))
    with show.built({"storage": "directory", "announcer": "house"}, Stage(tmp_path)) as scene:
        assert (tmp_path / "house").exists()
        assert scene.plan.config(1)["announcer"] == [{"use": "house", "nodes": ["house"]}]
        assert [event() for event in scene.half_way] == ["the roof has gone"]
    assert not (tmp_path / "house").exists()


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
