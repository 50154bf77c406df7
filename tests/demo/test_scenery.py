"""What the demo stands on, and that nothing of it is left when it is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from learnae import ConfigError, DemoSetup, PeerId, PluginError, Problem
from learnae.cli.main import main
from learnae.demo import show
from learnae.demo.processes import Plan, Stage, descendants
from learnae.identity.keys import Identity
from learnae.identity.swarms import SwarmKey
from learnae.plugins.offers import StrategyOffer


class Checks:
    """Remembers what it was asked to check."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, kind: str, table: Mapping[str, Any]) -> None:
        self.asked.append((kind, dict(table)))


def offer(kind: str, name: str, demo: str | None = None, plugin: str = "learnae-house") -> StrategyOffer:
    return StrategyOffer(kind, name, plugin, "nowhere:Nothing", demo=f"{__name__}:{demo}" if demo else None)


EMBEDDED = {"storage": offer("storage", "directory"), "announcer": offer("announcer", "directory")}


def test_the_embedded_defaults_need_no_scenery(tmp_path: Path) -> None:
    checks = Checks()
    with show.built(EMBEDDED, Stage(tmp_path), checks) as scene:
        assert scene == show.Scene(Plan())
    assert list(tmp_path.iterdir()) == [] and checks.asked == []


def test_another_storage_is_in_the_file_of_each_peer_of_a_private_swarm(tmp_path: Path) -> None:
    stage, checks = Stage(tmp_path), Checks()
    with show.built({**EMBEDDED, "storage": offer("storage", "cellar")}, stage, checks) as scene:
        config = Plan.from_json(scene.plan.to_json()).config(3)
    assert config["storage"] == [{"use": "cellar"}] and checks.asked == [("storage", {"use": "cellar"})]
    assert config["swarm"] == {"name": "demo", "key_file": str(stage.key)}
    assert config["train"] == Plan().config(3)["train"]
    SwarmKey.parse(stage.key.read_text())
    assert stage.key.stat().st_mode & 0o777 == 0o600


@contextmanager
def house(folder: Path) -> Iterator[DemoSetup]:
    folder.mkdir()
    yield DemoSetup(storage={"rooms": 3}, announcer={"nodes": [folder.name]}, half_way=lambda: "the roof has gone")
    folder.rmdir()


@contextmanager
def quiet(folder: Path) -> Iterator[DemoSetup]:
    yield DemoSetup()


@contextmanager
def burning(folder: Path) -> Iterator[DemoSetup]:
    yield DemoSetup(half_way=lambda: str(1 / 0))


@contextmanager
def unfinished(folder: Path) -> Iterator[DemoSetup]:
    raise ConfigError(Problem("bricks", "are not there", "buy some"))
    yield


@contextmanager
def crooked(folder: Path) -> Iterator[DemoSetup]:
    raise ZeroDivisionError
    yield


@contextmanager
def hut(folder: Path) -> Iterator[dict[str, Any]]:
    yield {"nodes": []}


@contextmanager
def endless(folder: Path) -> Iterator[DemoSetup]:
    yield DemoSetup(announcer={"nodes": iter([])})


@contextmanager
def terrace(folder: Path) -> Iterator[DemoSetup]:
    """Each house has a number, and knows the key of the one that falls."""

    def for_each(peers: Sequence[PeerId], killed: int) -> list[DemoSetup]:
        return [DemoSetup(storage={"number": number}, announcer={"falls": peers[killed]}) for number in range(len(peers))]

    yield DemoSetup(storage={"rooms": 3, "number": 7}, for_each=for_each)


@contextmanager
def gap(folder: Path) -> Iterator[DemoSetup]:
    yield DemoSetup(for_each=lambda peers, killed: [DemoSetup()])


def no_house(folder: Path) -> None: ...


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module can be imported by its name."""
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(**globals()))


@pytest.mark.usefixtures("here")
def test_what_has_to_run_is_started_first_and_torn_down_at_the_end(tmp_path: Path) -> None:
    checks = Checks()
    with show.built({**EMBEDDED, "announcer": offer("announcer", "house", "house")}, Stage(tmp_path), checks) as scene:
        assert (tmp_path / "house").exists()
        assert scene.plan.config(1)["announcer"] == [{"use": "house", "nodes": ["house"]}]
        assert checks.asked == [("announcer", {"use": "house", "nodes": ["house"]})]
        assert [event() for event in scene.half_way] == ["the roof has gone"]
    assert not (tmp_path / "house").exists()


@pytest.mark.usefixtures("here")
def test_a_storage_and_an_announcer_of_one_name_are_started_once(tmp_path: Path) -> None:
    chosen = {kind: offer(kind, "house", "house") for kind in ("storage", "announcer")}
    with show.built(chosen, Stage(tmp_path), Checks()) as scene:
        config = scene.plan.config(1)
        assert (config["storage"], config["announcer"]) == ([{"use": "house", "rooms": 3}], [{"use": "house", "nodes": ["house"]}])
        assert len(scene.half_way) == 1


@pytest.mark.usefixtures("here")
def test_each_peer_has_keys_of_its_own_where_its_plugin_wants_that_and_they_name_the_peers_that_run(tmp_path: Path) -> None:
    stage, checks = Stage(tmp_path), Checks()
    chosen = {"storage": offer("storage", "attic", "terrace"), "announcer": offer("announcer", "bell", "terrace")}
    with show.built(chosen, stage, checks) as scene:
        plan = Plan.from_json(scene.plan.to_json())
        configs = [plan.config(number) for number in range(1, 5)]
    assert [config["storage"] for config in configs] == [[{"use": "attic", "rooms": 3, "number": number}] for number in range(4)]
    falls = Identity.load_or_create(stage.home(plan.victim) / "key").peer
    assert [config["announcer"] for config in configs] == [[{"use": "bell", "falls": falls}]] * 4
    common = [("storage", {"use": "attic", "rooms": 3, "number": 7}), ("announcer", {"use": "bell"})]
    assert checks.asked == common, "what single peers get may name others that do not run yet"


@pytest.mark.usefixtures("here")
def test_nothing_need_happen_half_way(tmp_path: Path) -> None:
    with show.built({**EMBEDDED, "storage": offer("storage", "quiet", "quiet")}, Stage(tmp_path), Checks()) as scene:
        assert scene.half_way == ()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("demo", "told"),
    [
        ("crooked", "ZeroDivisionError"),
        ("hut", "not a learnae.DemoSetup"),
        ("endless", "JSON"),
        ("gap", "shorter"),
        ("no_house", "context manager"),
        ("nobody", "nobody"),
    ],
)
def test_a_mistake_in_what_a_plugin_starts_names_the_plugin(tmp_path: Path, demo: str, told: str) -> None:
    chosen = {**EMBEDDED, "announcer": offer("announcer", "house", demo)}
    with pytest.raises(PluginError, match=f"learnae-house.*{told}"), show.built(chosen, Stage(tmp_path), Checks()):
        raise AssertionError("it was played")


@pytest.mark.usefixtures("here")
def test_what_is_missing_for_a_demo_is_told_as_it_is(tmp_path: Path) -> None:
    chosen = {**EMBEDDED, "announcer": offer("announcer", "house", "unfinished")}
    with pytest.raises(ConfigError, match="buy some"), show.built(chosen, Stage(tmp_path), Checks()):
        raise AssertionError("it was played")


@pytest.mark.usefixtures("here")
def test_a_mistake_half_way_names_the_plugin(tmp_path: Path) -> None:
    with show.built({**EMBEDDED, "storage": offer("storage", "house", "burning")}, Stage(tmp_path), Checks()) as scene:
        (event,) = scene.half_way
        with pytest.raises(PluginError, match=r"learnae-house.*half_way"):
            event()


@pytest.mark.usefixtures("here")
def test_what_a_check_finds_wrong_ends_what_was_started(tmp_path: Path) -> None:
    def check(kind: str, table: Mapping[str, Any]) -> None:
        raise ConfigError(Problem(kind, "does not work"))

    chosen = {**EMBEDDED, "announcer": offer("announcer", "quiet", "quiet")}
    with pytest.raises(ConfigError, match="does not work"), show.built(chosen, Stage(tmp_path), check):
        raise AssertionError("it was played")


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


HOUSE = """
from contextlib import contextmanager
from learnae import Announcer, ConfigError, Problem, hookimpl

class House(Announcer):
    max_bytes = 1000
    async def __aenter__(self): return self
    async def __aexit__(self, *_): ...
    async def announce(self, message, *, replaces=None): ...
    async def listen(self, deliver): ...

@contextmanager
def bricks(folder):
    raise ConfigError(Problem("bricks", "are not there", "buy some"))
    yield

@hookimpl
def learnae_register_announcer(): return {"house": "learnae_house:House"}
@hookimpl
def learnae_register_demo(): return {"house": "learnae_house:bricks"}
"""


def test_the_demo_of_any_plugin_is_found_by_the_name_of_its_announcer(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install learnae[demo]")
    metadata = tmp_path / "site" / "learnae_house-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: learnae-house\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[learnae]\nhouse = learnae_house\n")
    (tmp_path / "site" / "learnae_house.py").write_text(HOUSE)
    command = [sys.executable, "-m", "learnae", "demo", "--announcer", "house"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2 and "bricks: are not there (buy some)" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux: only there is it told who started whom")
def test_children_of_children_are_found() -> None:
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        assert len(descendants([process.pid])) == 1
        process.communicate(b"\n")
