"""A home that came from somebody else: whatever lies under the name of each of its files, no command hangs, and nothing else is touched.

The names are those of a home in which a peer has really run, so that a new file is covered by itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import structlog

from learnae.cli.main import main
from learnae.config.saved_config import keep
from learnae.errors import LearnaeError
from learnae.identity.homes import Home, claim
from learnae.identity.keys import Identity
from learnae.node.history import History
from learnae.plugins.manager import open_peer_file
from learnae.records import AnnouncementKind
from learnae.trainer import checkpoint
from tests.support.hostile.devices import make_device
from tests.support.small_trainer import SMALL_TRAINER

pytestmark = pytest.mark.slow

HANG_SECONDS = 30.0
STRANGER = "5" * 64
FILE = '[swarm]\nname = "one"\n[peer]\nhome = "home"\n[train]\nentry = "train:make_trainer"\nlocal_steps = 4\n[join]\nwait_seconds = 0.0\n'
BESIDE = ("history.sqlite-wal", "history.sqlite-shm", "history.sqlite-journal", "config.json.new", "checkpoint/checkpoint.pt.new")
ALSO = ("checkpoint", "checkpoint.set-aside", "plugins")  # folders

COMMANDS: dict[str, tuple[str, ...]] = {
    "status": ("status", "HOME"),
    "why": ("why", "HOME"),
    "history": ("history", "HOME"),
    "export": ("export", "HOME", "-o", "OUT", "--force"),
    "clear": ("storage", "clear", "HOME", "--yes"),
    "deny": ("deny", "HOME", STRANGER),
    "allow": ("allow", "HOME", STRANGER),
    "rejoin": ("rejoin", "HOME"),
    "check": ("check", "FILE"),
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of a peer that has run for some rounds."""
    place = tmp_path_factory.mktemp("real")
    (place / "learnae.toml").write_text(FILE)
    (place / "train.py").write_text(SMALL_TRAINER)
    environment = {**os.environ, "XDG_STATE_HOME": str(place / "state"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "learnae", "run", "learnae.toml", "--seconds", "4"]
    subprocess.run(command, cwd=place, env=environment, check=True, capture_output=True, timeout=400)
    return place


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of the user's own with what must stay as it is."""
    place = tmp_path / "victim"
    place.mkdir()
    (place / "text").write_text("precious")
    with sqlite3.connect(place / "database") as connection:
        connection.execute("CREATE TABLE theirs (one)")
    connection.close()
    return place


def state_of(place: Path) -> dict[str, tuple[int, str]]:
    return {path.name: (path.stat().st_mode, hashlib.sha256(path.read_bytes()).hexdigest()) for path in sorted(place.iterdir())}


def names_of(home: Path) -> list[str]:
    found = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
    return sorted({*found, *BESIDE, *ALSO})


def away(path: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.parent.mkdir(exist_ok=True)


def linked(to: str) -> Callable[[Path, Path], None]:
    def make(path: Path, victim: Path) -> None:
        away(path)
        path.symlink_to(victim / to)

    return make


def hard_linked(path: Path, victim: Path) -> None:
    away(path)
    os.link(victim / "text", path)


def pipe(path: Path, victim: Path) -> None:
    away(path)
    os.mkfifo(path)


def folder(path: Path, victim: Path) -> None:
    away(path)
    path.mkdir()


def device(path: Path, victim: Path) -> None:
    away(path)
    make_device(path)


def huge(path: Path, victim: Path) -> None:
    if path.is_dir():
        away(path)
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        file.truncate(1 << 40)


def rubbish(path: Path, victim: Path) -> None:
    away(path)
    path.write_bytes(bytes(range(256)) * 40)


def anybodys(path: Path, victim: Path) -> None:
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.touch()
    path.parent.chmod(0o755)
    path.chmod(0o666)


def anothers(path: Path, victim: Path) -> None:
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.touch()
    try:
        os.chown(path, 53_001, 53_000)
    except PermissionError:
        pytest.skip("needs root: only it can give files away")


EVIL: dict[str, Callable[[Path, Path], None]] = {
    "link": linked("text"),
    "link to a database": linked("database"),
    "link to a folder": linked("."),
    "link to nothing": linked("nothing"),
    "hard link": hard_linked,
    "pipe": pipe,
    "folder": folder,
    "device": device,
    "huge": huge,
    "rubbish": rubbish,
    "anybody's": anybodys,
    "another's": anothers,
}


@contextmanager
def no_hang(what: str) -> Iterator[None]:
    def over(number: int, frame: Any) -> None:
        raise AssertionError(f"{what} hangs")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def copied(real: Path, place: Path) -> Path:
    away(place)
    shutil.copytree(real, place, ignore=shutil.ignore_patterns("state", "__pycache__"))
    return place / "home"


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_file_of_a_home_leads_a_command_elsewhere_or_holds_it_up(
    command: str, evil: str, real: Path, victim: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state_of(victim)
    for name in names_of(real / "home"):
        home = copied(real, tmp_path / "gift")
        EVIL[evil](home / name, victim)
        meant = {"HOME": str(home), "OUT": str(tmp_path / "out.safetensors"), "FILE": str(home.parent / "learnae.toml")}
        with no_hang(f"{command} with {name} as {evil}"):
            code = main([meant.get(word, word) for word in COMMANDS[command]])
        shown = capsys.readouterr()
        assert code in (0, 1, 2) and "Traceback" not in shown.err, (name, shown.err)
        assert code == 0 or len(shown.err) > 20, name
        assert state_of(victim) == before, name


@pytest.mark.parametrize("evil", EVIL)
def test_no_file_of_a_home_leads_a_peer_elsewhere_or_holds_it_up(evil: str, real: Path, victim: Path, tmp_path: Path) -> None:
    before = state_of(victim)
    for name in names_of(real / "home"):
        home = copied(real, tmp_path / "gift")
        EVIL[evil](home / name, victim)
        with no_hang(f"a run with {name} as {evil}"):
            for step in STEPS:
                with suppress(LearnaeError, OSError):
                    step(home)
        assert state_of(victim) == before, name


def take_over(home: Path) -> None:
    with claim(home) as claimed:
        Home.inherit(home, os.dup(claimed.lock_fd)).close()


def write_down(home: Path) -> None:
    keep(open_peer_file(home.parent / "learnae.toml")[0], home)


def number(home: Path) -> None:
    with History.open(home / "history.sqlite") as history:
        history.next_number(AnnouncementKind.UPDATE)


STEPS: tuple[Callable[[Path], object], ...] = (
    take_over,
    lambda home: Identity.load_or_create(home / "key"),
    write_down,
    number,
    lambda home: checkpoint.newest(home / "checkpoint", structlog.get_logger()),
    lambda home: checkpoint.save(home / "checkpoint", {"model": {}}),
)
"""What trainer and node do with the files of a home."""


@pytest.mark.parametrize("command", ["status", "history", "export", "deny", "check"])
def test_an_untouched_home_is_fine(command: str, real: Path, tmp_path: Path) -> None:
    home = copied(real, tmp_path / "gift")
    meant = {"HOME": str(home), "OUT": str(tmp_path / "out.safetensors"), "FILE": str(home.parent / "learnae.toml")}
    assert main([meant.get(word, word) for word in COMMANDS[command]]) == 0
    for step in STEPS:
        step(home)
