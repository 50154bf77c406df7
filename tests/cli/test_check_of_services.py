"""What storages and announcers find about their outside world, as `learnae check` tells it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from learnae.cli import check as examining
from learnae.cli.main import main
from learnae.identity.homes import claim

Check = Callable[[str], tuple[int, str, str]]

PLUGINS = """
import pathlib
import trio
from learnae import ConfigError, UnavailableError
from learnae.errors import Problem
from learnae.plugins.memory import MemoryAnnouncer
from learnae.plugins.memory import MemoryStorage

class Well(MemoryStorage):
    async def check(self):
        return ["the moon is up", f"it shines on {self.context.home.parent.parent.name}"]

class Doubtful(MemoryStorage):
    keeps_budgets = True

    async def check(self):
        return ["the moon is up", Problem("storage.moon", "wanes", "look again tomorrow")]

class Allowed(MemoryStorage):
    keeps_budgets = True

    async def check(self):
        return [f"allowed: {self.context.budgets}"]

class Wrong(MemoryStorage):
    async def check(self):
        raise ConfigError([Problem("storage.moon", "is down", "wait for the night"), Problem("storage.sun", "is out", "draw the curtains")])

class Away(MemoryAnnouncer):
    async def check(self):
        raise UnavailableError("the sea is out")

class Broken(MemoryStorage):
    async def check(self):
        raise ZeroDivisionError("no tide")

class Silent(MemoryStorage):
    async def check(self):
        await trio.sleep_forever()

class Stuck(MemoryStorage):
    async def check(self):
        await self.context.in_thread(pathlib.Path("pipe").read_bytes)
"""


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """`learnae check` on a file of this text, beside the plugins above: exit code, results, complaints."""
    (tmp_path / "mine.py").write_text(PLUGINS)
    monkeypatch.chdir(tmp_path)

    def run(text: str) -> tuple[int, str, str]:
        (tmp_path / "learnae.toml").write_text(text)
        code = main(["check", "learnae.toml"])
        return code, *capsys.readouterr()

    return run


def services_of(*storages: str, announcer: str = "directory") -> str:
    return "".join(f'[[storage]]\nuse = "{storage}"\n' for storage in storages) + f'[[announcer]]\nuse = "{announcer}"\n'


def test_what_a_service_finds_fine_is_shown_with_its_name(check: Check) -> None:
    code, out, _ = check(services_of("mine:Well"))
    assert code == 0
    assert "ok  storage mine:Well: the moon is up\n" in out
    assert "ok  announcer directory: " in out and "announcements can be written to" in out


def test_the_problems_of_all_services_are_named_at_once_with_their_remedies(check: Check) -> None:
    code, out, err = check(services_of("mine:Wrong", "mine:Well", "mine:Broken", announcer="mine:Away"))
    assert code == 2 and "is a program" in out and len(out.splitlines()) == 1
    assert err.startswith("4 problems to mend:\n")
    assert "storage.moon: is down (wait for the night)" in err and "storage.sun: is out (draw the curtains)" in err
    assert "announcer mine:Away: the sea is out" in err
    assert "no tide" in err


def test_a_service_that_breaks_is_a_mistake_of_its_plugin(check: Check) -> None:
    code, _, err = check(services_of("mine:Broken"))
    assert code == 3
    assert "checking the surroundings of storage mine:Broken: ZeroDivisionError: no tide" in err


@pytest.mark.parametrize("service", ["Silent", "Stuck"])
def test_a_service_that_finds_nothing_out_is_cut_off_and_the_next_one_asked(
    service: str, check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")  # nobody ever writes to it
    monkeypatch.setattr(examining, "CHECK_SECONDS", 0.3)
    code, _, err = check(services_of(f"mine:{service}", "mine:Wrong"))
    assert code == 2
    os.close(os.open(tmp_path / "pipe", os.O_RDWR))  # lets go of the thread that waits
    assert f"storage mine:{service}: found nothing out" in err
    assert "storage.moon: is down" in err


def test_a_service_looks_into_the_home_that_the_file_names_also_beside_its_peer(check: Check, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    _, out, _ = check('[peer]\nhome = "home"\n' + services_of("mine:Well"))
    assert "it shines on home\n" in out
    with claim(tmp_path / "home"):
        code, _, err = check('[peer]\nhome = "home"\n' + services_of("mine:Wrong"))
    assert code == 2
    assert "3 problems" in err and "another peer uses this home" in err


@pytest.mark.parametrize("kind", ["storage", "announcer"])
def test_a_folder_that_cannot_be_written_to_is_a_problem(kind: str, check: Check, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("")
    code, _, err = check(f'[[{kind}]]\nuse = "directory"\npath = "occupied/below"\n')
    assert code == 2
    assert f"{kind}.path: " in err and "occupied/below cannot be written to" in err and "name another folder" in err


def test_the_folders_of_services_are_not_made(check: Check, tmp_path: Path, state_home: Path) -> None:
    code, _, _ = check('[[storage]]\nuse = "directory"\npath = "blocks"\n')
    assert code == 0
    assert not (tmp_path / "blocks").exists()
    assert list(state_home.iterdir()) == []


def test_a_warning_keeps_nothing_from_running(check: Check) -> None:
    code, out, err = check(services_of("mine:Doubtful"))
    assert (code, err) == (0, "")
    assert "ok  storage mine:Doubtful: the moon is up\n" in out
    assert "warning  storage.moon: wanes (look again tomorrow)\n" in out and out.endswith("can be run.\n")


BUDGETS = "[peer]\nupload_bytes_per_second = 500000\ndownload_bytes_per_hour = 1000000000\n"


def test_a_service_is_handed_the_budgets_of_the_file(check: Check) -> None:
    _, out, _ = check(BUDGETS + services_of("mine:Allowed"))
    assert "upload_bytes_per_second=500000" in out and "download_bytes_per_hour=1000000000" in out
    assert "upload_bytes_per_hour=None" in out and "warning" not in out


def test_a_budget_comes_with_a_warning_that_names_the_storages_that_do_not_keep_it(check: Check) -> None:
    code, out, _ = check(BUDGETS + services_of("mine:Allowed", "directory", "mine:Well"))
    assert code == 0
    (warning,) = [line for line in out.splitlines() if line.startswith("warning")]
    assert "peer.upload_bytes_per_second, peer.download_bytes_per_hour" in warning
    assert "storage directory, storage mine:Well" in warning and "Allowed" not in warning


def test_without_a_budget_nobody_is_warned(check: Check) -> None:
    assert "warning" not in check(services_of("directory"))[1]
