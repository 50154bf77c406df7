"""Homes and files that came from somebody else, and are only looked at: nothing that they bring or name is run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from learnae.cli.main import main
from learnae.config.options import KINDS
from learnae.identity.keys import Identity
from learnae.lowlevel import option
from learnae.node.history import History, PublishedUpdate
from learnae.outlets import print_result
from learnae.plugins.directory.storage import DirectoryStorage
from learnae.records import Cid

STRANGER = "5" * 64
COMMANDS: dict[str, tuple[str, ...]] = {
    "status": ("status", "HOME"),
    "why": ("why", "HOME"),
    "history": ("history", "HOME"),
    "export": ("export", "HOME", "-o", "OUT", "--force"),
    "export published": ("export", "HOME", "-o", "OUT", "--force", "--published"),
    "export a root": ("export", "HOME", "b" + "a" * 58, "-o", "OUT", "--force"),
    "clear": ("storage", "clear", "HOME", "--yes"),
    "deny": ("deny", "HOME", STRANGER),
    "allow": ("allow", "HOME", STRANGER),
    "rejoin": ("rejoin", "HOME"),
    **{f"contributions{option}": ("contributions", "HOME", *option.split()) for option in ("", " --others", " --ask")},
    **{f"data {word}": ("data", word, "HOME", *whom) for word, whom in (("status", ()), ("forget", (STRANGER,)), ("allow", (STRANGER,)))},
    "plugins": ("plugins",),
}
CODE = "import pathlib\npathlib.Path({ran!r}).touch()\nfrom learnae.plugins.memory import MemoryStorage as Evil\n"


@pytest.fixture
def gift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A home whose kept configuration, as the giver wrote it, names code that lies in the home and beside it."""

    def make(**tables: object) -> Path:
        home = tmp_path / "gift" / "home"
        home.mkdir(parents=True)
        for folder in (home, home.parent):
            for name in ("evil.py", "sitecustomize.py", "numpy.py", "trio.py"):
                (folder / name).write_text(CODE.format(ran=str(tmp_path / "ran")))
        Identity.load_or_create(home / "key")
        with History.open(home / "history.sqlite") as history:
            history.add_published(PublishedUpdate(3, Cid("b" + "a" * 58), b"lineage1", 8, 1, 2, "int8", b"shapes 1"))
        document = {"swarm": {"name": "digits", "open": True}, "train": {"entry": "evil:make"}, **tables}
        (home / "config.json").write_text(json.dumps({"folder": str(home), "config": document}))
        monkeypatch.chdir(home)
        return home

    return make


def spoken(command: tuple[str, ...], home: Path) -> list[str]:
    meant = {"HOME": str(home), "OUT": str(home.parent.parent / "out.safetensors")}
    return [meant.get(word, word) for word in command]


def evil(kind: str) -> dict[str, object]:
    return {kind: [{"use": "evil:Evil"}] if KINDS[kind].many else {"use": "evil:Evil"}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_imports_what_a_home_names(
    command: str, kind: str, gift: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, before = gift(**evil(kind)), list(sys.path)
    assert main(spoken(COMMANDS[command], home)) in (0, 1, 2)
    assert not (tmp_path / "ran").exists() and sys.path == before
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["export published", "clear"])
def test_a_storage_from_a_file_is_named_with_what_to_do(
    command: str, gift: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    home = gift(**evil("storage"))
    assert main(spoken(COMMANDS[command], home)) == 2
    said = capsys.readouterr().err
    assert "evil:Evil" in said and "TOML file" in said


@pytest.mark.parametrize("command", ["export published", "clear"])
def test_the_owner_who_names_the_file_of_the_peer_has_its_code_run(command: str, gift: Callable[..., Path], tmp_path: Path) -> None:
    home = gift(**evil("storage"))
    file = home.parent / "peer.toml"
    file.write_text('[swarm]\nname = "digits"\nopen = true\n[peer]\nhome = "home"\n[[storage]]\nuse = "evil:Evil"\n')
    main(spoken(COMMANDS[command], file))
    assert (tmp_path / "ran").exists()


def test_what_leaves_the_machine_is_not_asked_at_an_address_that_a_home_names(
    gift: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(DirectoryStorage, "leaves_machine", True)
    monkeypatch.setattr(DirectoryStorage, "__init__", lambda *_: pytest.fail("made"))
    for command in ("export published", "clear"):
        home = Path.cwd() if Path.cwd().name == "home" else gift()
        assert main(spoken(COMMANDS[command], home)) == 2
        assert "TOML file" in capsys.readouterr().err


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("command", ["export published", "clear"])
def test_no_command_that_looks_makes_anything_where_a_gift_says(
    command: str, there: bool, gift: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / ".config" / "autostart"
    home = gift(storage=[{"use": "directory", "path": str(folder)}])
    if there:
        folder.mkdir(parents=True)
        (folder / f"new.{'0' * 64}.123").touch()
        os.utime(folder, (1, 1))
    code = main(spoken(COMMANDS[command], home))
    assert "Traceback" not in capsys.readouterr().err and (code != 0 or command == "clear")
    assert (folder.stat().st_mtime, len(list(folder.iterdir()))) == (1, 1) if there else not folder.parent.exists()


def test_check_says_first_that_a_file_is_a_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ("print('imported')", "from learnae.plugins.merge import Average as Mine", "def make(): ...")
    (tmp_path / "mine.py").write_text("\n".join(lines))
    (tmp_path / "learnae.toml").write_text('[train]\nentry = "mine:make"\n[merge]\nuse = "mine:Mine"\n')
    assert main(["check", str(tmp_path / "learnae.toml")]) == 0
    said = capsys.readouterr().out
    assert 0 <= said.find("is a program") < said.find("imported\n")
    assert "mine:Mine" in said and "mine:make" in said


@attrs.frozen
class OptionsWithAProgram(DirectoryStorage.Options):
    tool: str | None = option(None, "What moves the files.", program=True)


def test_check_says_first_that_a_file_starts_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(DirectoryStorage, "Options", OptionsWithAProgram)
    made = DirectoryStorage.__init__

    def tell(*given: Any) -> None:
        print_result(f"started {given[1].tool}")
        made(*given)

    monkeypatch.setattr(DirectoryStorage, "__init__", tell)
    (tmp_path / "learnae.toml").write_text(f'[swarm]\nopen = true\n[[storage]]\nuse = "directory"\npath = "{tmp_path}"\n')
    named = ["--set", 'storage = [{use = "directory", tool = "./evil.sh"}]']
    assert main(["check", str(tmp_path / "learnae.toml"), *named]) == 0
    said = capsys.readouterr().out
    assert 0 <= said.find("is a program") < said.find("started ./evil.sh") and said.count("./evil.sh") == 2
    assert main(["check", str(tmp_path / "learnae.toml")]) == 0
    assert "is a program" not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["export published", "clear"])
def test_no_command_starts_a_program_that_a_home_names(
    command: str, gift: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(DirectoryStorage, "Options", OptionsWithAProgram)
    home = gift(storage=[{"use": "directory", "tool": "./evil.sh"}])
    monkeypatch.setattr(DirectoryStorage, "__init__", lambda *_: pytest.fail("made"))
    assert main(spoken(COMMANDS[command], home)) == 2
    said = capsys.readouterr().err
    assert "evil.sh" in said and "TOML file" in said


@pytest.mark.parametrize("text", ['[train]\nentry = "evil:make"\n', '[merge]\nuse = "evil:Evil"\n', '[[storage]]\nuse = "evil:Evil"\n'])
def test_check_imports_nothing_where_it_is_told_so(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evil.py").write_text(CODE.format(ran=str(tmp_path / "ran")))
    (tmp_path / "learnae.toml").write_text(text)
    before = list(sys.path)
    assert main(["check", "--no-code", str(tmp_path / "learnae.toml")]) == 0
    assert not (tmp_path / "ran").exists() and sys.path == before
    assert "evil" in capsys.readouterr().out


def test_check_listens_nowhere_and_looks_up_no_name_where_it_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learnae.cli.check.serving_http", lambda *_: pytest.fail("listens"))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("looks up"))
    (tmp_path / "learnae.toml").write_text('[metrics]\nprometheus = "127.0.0.1:0"\n')
    assert main(["check", "--no-code", str(tmp_path / "learnae.toml")]) == 0


@pytest.mark.parametrize("address", ["evil.example:9464", "localhost:9464"])
def test_an_address_to_listen_at_is_no_name_that_somebody_must_look_up(address: str, tmp_path: Path) -> None:
    (tmp_path / "learnae.toml").write_text(f'[metrics]\nprometheus = "{address}"\n')
    assert main(["check", "--no-code", str(tmp_path / "learnae.toml")]) == 2
