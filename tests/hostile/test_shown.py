"""Whatever a home that somebody gives away says, and whatever plugins, files and words are called: a command shows it harmlessly."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from rich.cells import cell_len

from learnae.cli import plugins
from learnae.cli.main import main
from learnae.cli.status import MOST_REASONS
from learnae.texts import CELL_CHARACTERS
from tests.support.hostile.given_homes import ALICE, BOB, ROOT, hostile_home
from tests.support.hostile.texts import TEXTS, WORST, encodable, is_harmless, without_colours

COMMANDS = [
    *(["status"], ["status", "--json"], ["history"], ["history", "--json"], ["why"], ["why", "--json"]),
    *(["why", "HOME", ALICE[:6]], ["why", "HOME", BOB[:6]], ["why", "HOME", ROOT[:20]]),
    *(["export", "-o", "m"], ["export", "HOME", ROOT, "-o", "m"], ["storage", "clear", "--yes"], ["rejoin"]),
    *(["deny", "HOME", ALICE], ["allow", "HOME", BOB], ["allow", "HOME", "beef"]),
    *(["contributions"], ["contributions", "--json"], ["contributions", "--others"], ["contributions", "--others", "--json"]),
    *(["contributions", "--ask"], ["data", "status"], ["data", "status", "--json"], ["data", "forget", "HOME", ALICE[:6]]),
    *(["data", "allow", "HOME", BOB],),
]
NAMES = ["home", "\x1b[2J\x9b\n\u202ehome\udcff"]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(words: list[str], home: Path) -> tuple[int, str]:
        given = [str(home) if word == "HOME" else word for word in words]
        code = main([*given, *([] if "HOME" in words else [str(home)])])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def check_lines(words: list[str], said: str) -> None:
    assert is_harmless(said), words
    assert not any(line.startswith("FAKED") for line in said.split("\n")), words
    assert len(said) < 400_000


@pytest.mark.parametrize("name", NAMES, ids=["a plain home", "a hostile home"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_on_a_hostile_home_prints_nothing_that_acts(words: list[str], name: str, shown: Any, tmp_path: Path) -> None:
    code, said = shown(words, hostile_home(tmp_path / "in" / name, WORST))
    check_lines(words, said)
    assert code in (0, 2, 3, 4) and said.strip(), said
    if "--json" in words:
        json.loads(said)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_texts_in_the_place_of_numbers_print_nothing_that_acts(words: list[str], shown: Any, tmp_path: Path) -> None:
    check_lines(words, shown(words, hostile_home(tmp_path / "home", WORST, numbers=True))[1])


@given(text=TEXTS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_texts_of_a_home_are_the_commands_that_read_it_print_nothing_that_acts(text: str, shown: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.rmtree(home, ignore_errors=True)
    hostile_home(home, text)
    for words in COMMANDS[:9]:
        check_lines(words, shown(words, home)[1])


@pytest.mark.parametrize("words", [["status"], ["history"]], ids=" ".join)
def test_tables_keep_to_80_columns(words: list[str], shown: Any, tmp_path: Path) -> None:
    _, said = shown(words, hostile_home(tmp_path / "home", WORST))
    assert [line for line in said.split("\n") if cell_len(line) > 80 and not line.startswith("home ")] == []


def test_a_megabyte_in_one_cell_takes_a_few_lines(shown: Any, tmp_path: Path) -> None:
    home = hostile_home(tmp_path / "home", "\x1b x" * 350_000)
    for words in (["status"], ["why"], ["history"]):
        assert len(shown(words, home)[1]) < 20 * 5 * 4 * CELL_CHARACTERS


def test_how_many_reasons_are_hidden_is_shown_and_json_has_them_all(shown: Any, tmp_path: Path) -> None:
    home = hostile_home(tmp_path / "home", WORST)
    with contextlib.closing(sqlite3.connect(home / "history.sqlite")) as db, db:
        db.executemany("INSERT INTO counts VALUES (?, ?)", [(f"reason{number}", 1000 + number) for number in range(MOST_REASONS)])
    reasons = json.loads(shown(["status", "--json"], home)[1])["refused_messages"]
    hidden = len(reasons) - MOST_REASONS
    said = shown(["status"], home)[1]
    assert hidden > 0 and said.count("reason") >= MOST_REASONS
    assert str(hidden) in said.rstrip().split("\n")[-1].split()


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_hostile_file_of_a_peer_is_told_in_lines_of_its_own(command: str, shown: Any, tmp_path: Path) -> None:
    text = json.dumps(encodable(WORST))
    name = tmp_path / "\x1b[2J\u202e\nFAKED.toml"
    name.write_text(
        f'[swarm]\nname = {text}\n[peer]\n{text} = 1\n[selector]\nuse = {text}\n[[storage]]\nuse = "directory"\npath = {text}\n'
    )
    code, said = shown([command], name)
    check_lines([command], said)
    assert code in (2, 3)


@pytest.mark.parametrize(
    "words", [["status", WORST], ["why", WORST, WORST], [WORST], ["run", f"--{WORST}"], ["history", "--rounds", WORST]], ids=range(5)
)
def test_a_word_of_the_command_line_is_told_harmlessly(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) in (2, 3)
    check_lines(words, capsys.readouterr().err)


@pytest.mark.parametrize("on_terminal", [True, False])
def test_plugins_of_hostile_names_are_listed(
    on_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "on_terminal", lambda: on_terminal)
    option = {"key": WORST, "default": WORST, "type": WORST, "doc": WORST, "bounds": [WORST], "required": False}
    entry = {"name": WORST, "plugin": WORST, "distribution": WORST, "version": WORST, "doc": WORST, "options": [option], "error": None}
    found = {
        "strategies": {"gate": [entry, {**entry, "error": WORST, "options": []}], "codec": []},
        "commands": [entry],
        "command_clashes": [WORST],
        "broken": [{"plugin": WORST, "error": WORST}],
        "left_out": [WORST],
    }
    plugins.show(found)
    check_lines(["plugins"], without_colours(capsys.readouterr().out))


# -- a real terminal, and real bytes: one program runs all commands, since it takes seconds to start ------------------------------

END = "== the end of a command"
PROGRAM = f"""
import json, sys
from learnae.cli.main import main
codes = []
for words in json.loads(sys.argv[1]):
    codes.append(main(words))
    print({END!r}, flush=True)
sys.exit(max(codes))
"""


def _program(commands: list[list[str]]) -> list[str]:
    return [sys.executable, "-c", PROGRAM, json.dumps(commands)]


def _each(said: str, commands: list[list[str]]) -> list[str]:
    *each, rest = said.split(f"{END}\n")
    assert len(each) == len(commands) and not rest, said
    return each


@pytest.mark.slow  # it loads all plugins
def test_on_a_terminal_there_are_our_colours_and_nothing_else(tmp_path: Path) -> None:
    home = str(hostile_home(tmp_path / "\x1b[2Jhome", WORST))
    commands = [["status", home], ["why", home], ["history", home], ["plugins"]]
    said = b"".join(_on_a_terminal(_program(commands))).decode().replace("\r\n", "\n")
    for words, shown in zip(commands, _each(said, commands), strict=True):
        assert is_harmless(without_colours(shown)), (words, shown)
        assert shown.strip(), words
    assert without_colours(said) != said


def _on_a_terminal(words: list[str]) -> Iterator[bytes]:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    child = subprocess.Popen(words, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    try:
        while data := os.read(ours, 65_536):
            yield data
    except OSError:  # what Linux says at the end
        pass
    finally:
        os.close(ours)
        assert child.wait(60) == 0


def test_where_the_output_is_ascii_all_is_shown_all_the_same(tmp_path: Path) -> None:
    home = str(hostile_home(tmp_path / "h\udcff", WORST))
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    commands = [["status", home], ["why", home], ["history", home], ["status", "--json", home]]
    done = subprocess.run(_program(commands), capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert all(byte == 10 or 32 <= byte < 127 for byte in done.stdout)
    assert all(shown.strip() for shown in _each(done.stdout.decode("ascii"), commands))
