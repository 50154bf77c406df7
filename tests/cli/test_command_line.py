"""The command as its users meet it: a process, two streams and an exit code."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from learnae.identity.homes import claim
from learnae.identity.keys import Identity

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def learnae(tmp_path: Path) -> Run:
    """Runs `python -m learnae` in an empty folder."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "learnae", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return name


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "learnae", "--help"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "click" in imported
    assert imported & {"torch", "numpy", "rich", "trio", "cryptography", "structlog"} == set()


def test_a_command_of_ours_reads_no_metadata_of_what_is_installed(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "learnae", "key", "--help"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "importlib.metadata" not in {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}


def test_help_names_the_commands_and_the_exit_codes(learnae: Run) -> None:
    result = learnae("--help")
    assert result.returncode == 0
    assert [word for word in ("demo", "run", "check", "plugins", "130") if word not in result.stdout] == []


def test_a_command_that_does_not_exist_is_the_users_mistake(learnae: Run) -> None:
    result = learnae("trian")
    assert (result.returncode, result.stdout) == (2, "")
    assert "trian" in result.stderr and "Traceback" not in result.stderr


def test_the_plugins_are_listed_as_json(learnae: Run) -> None:
    result = learnae("plugins", "--json")
    assert result.returncode == 0
    found = json.loads(result.stdout)
    assert list(found["strategies"]) == ["storage", "announcer", "selector", "gate", "merge", "outer", "codec"]
    (average,) = [entry for entry in found["strategies"]["merge"] if entry["name"] == "average"]
    assert (average["plugin"], average["error"]) == ("learnae", None)
    assert average["doc"].startswith("The weighted mean")
    options = {option["key"]: option for option in average["options"]}
    assert options["staleness_power"]["default"] == "0.5" and options["staleness_power"]["bounds"] == ["at least 0.0"]


def test_a_broken_plugin_is_shown_with_its_error_and_hides_no_other(learnae: Run, tmp_path: Path) -> None:
    installed = tmp_path / "broken_plugin-1.5.dist-info"
    installed.mkdir()
    write(installed, "METADATA", "Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.5\n")
    write(installed, "entry_points.txt", "[learnae]\nbroken = broken_plugin\n")
    write(tmp_path, "broken_plugin.py", "raise RuntimeError('no moon')\n")
    result = learnae("plugins", PYTHONPATH=str(tmp_path))
    assert result.returncode == 0
    assert "broken: plugin 'broken' failed while importing broken_plugin: RuntimeError: no moon" in result.stdout
    assert "least-recently-tried" in result.stdout


def test_on_a_terminal_the_plugins_stand_in_tables(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([sys.executable, "-m", "learnae", "plugins"], cwd=tmp_path, stdout=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:  # how a terminal on Linux says that its other end was closed
            pass
        os.close(ours)
    assert process.returncode == 0
    assert "│" in shown.decode() and "average" in shown.decode()


def test_a_file_without_a_flaw_can_be_run(learnae: Run, tmp_path: Path) -> None:
    write(tmp_path, "train.py", "def make_trainer():\n    raise AssertionError('a check makes no trainer')\n")
    file = write(tmp_path, "learnae.toml", '[peer]\nhome = "home"\n[train]\nentry = "train:make_trainer"\n')
    result = learnae("check", file)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("learnae.toml can be run.\n")
    assert "No row of data does.\n" in result.stdout
    assert [word for word in ("train:make_trainer", "least-recently-tried", "home", "MiB") if word not in result.stdout] == []


def test_a_check_leaves_nothing_behind(learnae: Run, tmp_path: Path, state_home: Path) -> None:
    file = write(tmp_path, "learnae.toml", '[peer]\nhome = "home"\n')
    assert learnae("check", file).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["learnae.toml"]
    assert list(state_home.iterdir()) == []


def test_a_check_names_all_problems_at_once(learnae: Run, tmp_path: Path) -> None:
    write(tmp_path, "train.py", "def make_trainer():\n    pass\n")
    text = '[swarm]\nnaem = "digits"\n[peer]\nhome = "learnae.toml"\n[train]\nentry = "train:make_traner"\n[merge]\nuse = "averege"\n'
    result = learnae("check", write(tmp_path, "learnae.toml", text))
    assert result.returncode == 2
    assert result.stderr.startswith("4 problems to mend:\n") and "Traceback" not in result.stderr
    for said in ("swarm.naem", 'did you mean "average"', 'did you mean "make_trainer"', "peer.home"):
        assert said in result.stderr


def test_a_home_that_is_in_use_is_named_with_the_process(learnae: Run, tmp_path: Path) -> None:
    file = write(tmp_path, "learnae.toml", '[peer]\nhome = "home"\n')
    with claim(tmp_path / "home"):
        result = learnae("check", file)
    assert result.returncode == 2
    assert f"another peer uses this home (process {os.getpid()})" in result.stderr


def test_a_home_that_cannot_be_written_to_is_a_problem(learnae: Run, tmp_path: Path) -> None:
    write(tmp_path, "occupied", "")
    result = learnae("check", write(tmp_path, "learnae.toml", '[peer]\nhome = "occupied/home"\n'))
    assert result.returncode == 2
    assert "peer.home" in result.stderr and "cannot be written to" in result.stderr


def test_an_entry_that_needs_torch_says_how_to_get_it(learnae: Run, tmp_path: Path) -> None:
    write(tmp_path, "train.py", "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    result = learnae("check", write(tmp_path, "learnae.toml", '[train]\nentry = "train:make_trainer"\n'))
    assert result.returncode == 2
    assert 'pip install "learnae[torch]"' in result.stderr


def without_torch(folder: Path) -> dict[str, str]:
    """The environment of a machine where torch is not installed."""
    hidden = folder / "hidden"
    hidden.mkdir()
    write(hidden, "torch.py", "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    return {"PYTHONPATH": os.pathsep.join([str(hidden), str(Path(__file__).parents[2])])}


def test_a_run_without_torch_says_how_to_get_it(learnae: Run, tmp_path: Path) -> None:
    write(tmp_path, "train.py", "def make_trainer():\n    pass\n")
    file = write(tmp_path, "learnae.toml", '[train]\nentry = "train:make_trainer"\n')
    result = learnae("run", file, **without_torch(tmp_path))
    assert result.returncode == 2
    assert 'pip install "learnae[torch]"' in result.stderr and "bug" not in result.stderr


def test_a_strategy_that_needs_torch_says_how_to_get_it(learnae: Run, tmp_path: Path) -> None:
    write(tmp_path, "my_rules.py", "import torch\n")
    result = learnae("check", write(tmp_path, "learnae.toml", '[merge]\nuse = "my_rules:Mine"\n'), **without_torch(tmp_path))
    assert result.returncode == 2
    assert "merge.use" in result.stderr and 'pip install "learnae[torch]"' in result.stderr


@pytest.mark.parametrize("name", ["join", "TrainingLoop", "Swarm"])
def test_what_needs_torch_says_so_to_whoever_imports_it(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", f"from learnae import {name}"]
    result = subprocess.run(command, env={**os.environ, **without_torch(tmp_path)}, capture_output=True, text=True, check=False)
    assert result.stderr.splitlines()[-1].endswith(f'learnae.{name}: needs PyTorch, which is not installed (pip install "learnae[torch]")')


def test_a_check_shows_the_public_key_of_a_home_that_has_one(learnae: Run, tmp_path: Path) -> None:
    file = write(tmp_path, "learnae.toml", '[peer]\nhome = "home"\n')
    (tmp_path / "home").mkdir()
    assert "public key" not in learnae("check", file).stdout
    peer = Identity.load_or_create(tmp_path / "home" / "key").peer
    assert f"ok  the peer's public key: {peer}\n" in learnae("check", file).stdout


def test_a_check_that_finds_a_mistake_calls_nothing_fine(learnae: Run, tmp_path: Path) -> None:
    result = learnae("check", write(tmp_path, "learnae.toml", '[swarm]\nnaem = "digits"\n'))
    assert (result.returncode, result.stdout) == (2, "")


def test_the_help_cuts_no_summary(learnae: Run) -> None:
    assert "..." not in learnae("--help", COLUMNS="80").stdout.partition("Commands:")[2]


def test_an_override_is_checked_like_the_file(learnae: Run, tmp_path: Path) -> None:
    result = learnae("check", write(tmp_path, "learnae.toml", ""), "--set", "train.local_steps=0")
    assert result.returncode == 2
    assert "--set train.local_steps" in result.stderr


def test_only_debug_shows_the_traceback_of_a_plugin(learnae: Run, tmp_path: Path) -> None:
    write(tmp_path, "mine.py", "raise RuntimeError('no moon')\n")
    file = write(tmp_path, "learnae.toml", '[merge]\nuse = "mine:Mine"\n')
    plain, debug = learnae("check", file), learnae("check", file, "--debug")
    assert (plain.returncode, debug.returncode) == (3, 3)
    assert "mine.py" in plain.stderr and "no moon" in plain.stderr and "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr


def test_running_needs_an_entry(learnae: Run, tmp_path: Path) -> None:
    result = learnae("run", write(tmp_path, "learnae.toml", ""))
    assert result.returncode == 2
    assert "train.entry" in result.stderr and 'entry = "train:make_trainer"' in result.stderr
