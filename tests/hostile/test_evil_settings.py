"""What a peer's file, or the one that a home keeps, makes of a screen and of Python: few lines, and no traceback."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from learnae.cli.exit_codes import LISTED
from learnae.cli.main import main
from learnae.config import rules
from learnae.config.problems import DEEPEST, MOST_KEYS
from learnae.config.rules import swarm_of
from learnae.config.tables import SwarmTable
from learnae.errors import ConfigError
from tests.support.hostile.given_homes import hostile_home

HUGE = "0x" + "f" * 5000
FILE = '[swarm]\nname = "one"\nopen = true\n[train]\nentry = "train:make_trainer"\n'
COMMANDS: dict[str, tuple[str, ...]] = {
    "status": ("status", "HOME"),
    "why": ("why", "HOME"),
    "deny": ("deny", "HOME", "5" * 64),
    "export": ("export", "HOME", "-o", "OUT"),
    "clear": ("storage", "clear", "HOME", "--yes"),
}

pytestmark = pytest.mark.timeout(60)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


KEPT: dict[str, Callable[[dict[str, Any]], None]] = {
    "very many keys": lambda config: config["peer"].update({f"{number:x}": 1 for number in range(200_000)}),
    "some hundred keys": lambda config: config["peer"].update({f"{number:x}": 1 for number in range(MOST_KEYS)}),
    "deep": lambda config: config["peer"].update(allow=nested(900)),
    "a little too deep": lambda config: config["peer"].update(allow=nested(DEEPEST)),
    "a long number": lambda config: config["peer"].update(max_update_bytes=int("9" * 4299)),
    "a long count": lambda config: config.update(selector={"count": int("9" * 4299)}),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("change", KEPT.values(), ids=KEPT)
def test_nothing_that_a_home_keeps_floods_a_screen_or_ends_in_a_traceback(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    home = hostile_home(tmp_path / "home", "text")
    config: dict[str, Any] = {"swarm": {"name": "one", "open": True}, "peer": {}}
    change(config)
    (home / "config.json").write_text(json.dumps({"folder": str(home), "config": config}))
    meant = {"HOME": str(home), "OUT": str(tmp_path / "out")}
    capsys.readouterr()
    assert main([meant.get(word, word) for word in command]) in (0, 2)
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert (said.err + said.out).count("\n") < 2 * LISTED


NUMBERS = [
    f"local_steps = {HUGE}",
    f"[peer]\nallow = [{HUGE}]",
    f"[[storage]]\nuse = {HUGE}",
    f"[peer]\nhome = {{a = {HUGE}}}",
    f"[metrics]\nx = {HUGE}",
    f"[plugins]\nx = -{'9' * 4000}",
]


@pytest.mark.parametrize("text", NUMBERS, ids=range(len(NUMBERS)))
def test_a_number_that_python_cannot_show_is_a_file_to_mend(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "learnae.toml").write_text(FILE + text)
    assert main(["check", "--no-code", str(tmp_path / "learnae.toml")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_of_very_many_problems_the_first_are_told_and_the_rest_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = "".join(f"zz{number} = 1\n" for number in range(900))
    (tmp_path / "learnae.toml").write_text(f"{FILE}[peer]\n{keys}")
    assert main(["check", "--no-code", str(tmp_path / "learnae.toml")]) == 2
    said = capsys.readouterr().err
    assert "zz0" in said and "zz899" not in said
    assert f"{900 - LISTED}" in said and len(said.splitlines()) <= LISTED + 3


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_stands_in_the_place_of_a_key_is_not_opened(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits at the other end of a pipe would be let go, and a device may do something."""
    make(tmp_path / "key")
    opened: list[str] = []
    really = os.open

    def noted(path: Any, *arguments: Any, **more: Any) -> int:
        opened.append(os.fspath(path))
        return really(path, *arguments, **more)

    monkeypatch.setattr(rules.os, "open", noted)
    with pytest.raises(ConfigError):
        swarm_of(SwarmTable(name="one", key_file=tmp_path / "key"))
    assert str(tmp_path / "key") not in opened


def test_a_key_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("learnae-swarm-key\n")
    (tmp_path / "key").chmod(stat.S_IRUSR)
    (tmp_path / "link").symlink_to(tmp_path / "key")
    with pytest.raises(ConfigError) as caught:
        swarm_of(SwarmTable(name="one", key_file=tmp_path / "link"))
    assert "no file" not in str(caught.value)
