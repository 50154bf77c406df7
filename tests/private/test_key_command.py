"""`learnae key` and what `learnae check` says of a private swarm."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from learnae.cli.check import fingerprint
from learnae.identity.swarms import PREFIX, SwarmIdentity, SwarmKey

KEY = SwarmKey(bytes(range(32)))

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def learnae(tmp_path: Path) -> Run:
    """Runs `python -m learnae` in an empty folder, under the usual mask of modes."""

    def run(*arguments: str, stdout: int = subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "learnae", *arguments]
        where = {"cwd": tmp_path, "env": {**os.environ, **environment}, "umask": 0o022}
        return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False, **where)

    return run


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_printed_and_nothing_else(learnae: Run) -> None:
    result = learnae("key")
    assert (result.returncode, result.stderr) == (0, "")
    assert SwarmKey.parse(result.stdout).text() + "\n" == result.stdout


def test_a_file_that_the_shell_made_for_the_key_is_for_its_owner_alone(learnae: Run, tmp_path: Path) -> None:
    path = tmp_path / "swarm.key"
    with path.open("w") as file:
        path.chmod(0o644)
        learnae("key", stdout=file.fileno())
    assert mode(path) == 0o600
    SwarmKey.parse(path.read_text())


def test_a_key_goes_to_a_new_file_that_can_be_used_as_it_is(learnae: Run, tmp_path: Path) -> None:
    result = learnae("key", "--file", "swarm.key")
    path = tmp_path / "swarm.key"
    assert result.returncode == 0 and PREFIX not in result.stdout + result.stderr
    assert mode(path) == 0o600
    (tmp_path / "learnae.toml").write_text('[swarm]\nkey_file = "swarm.key"\n')
    assert learnae("check", "learnae.toml").returncode == 0


def test_no_key_is_ever_overwritten(learnae: Run, tmp_path: Path) -> None:
    path = tmp_path / "swarm.key"
    path.write_text(KEY.text())
    result = learnae("key", "--file", "swarm.key")
    assert result.returncode == 2 and "is there already" in result.stderr and "Traceback" not in result.stderr
    assert path.read_text() == KEY.text()


def test_a_check_shows_the_fingerprint_of_a_private_swarm_and_not_its_key(learnae: Run, tmp_path: Path) -> None:
    (tmp_path / "learnae.toml").write_text('[swarm]\nname = "digits"\nkey_env = "DIGITS_KEY"\n')
    result = learnae("check", "learnae.toml", DIGITS_KEY=KEY.text())
    assert result.returncode == 0
    assert "swarm 'digits' is private" in result.stdout and fingerprint(SwarmIdentity("digits", KEY)) in result.stdout
    assert KEY.text()[14:30] not in result.stdout + result.stderr


def test_a_check_says_that_the_key_is_missing(learnae: Run, tmp_path: Path) -> None:
    (tmp_path / "learnae.toml").write_text('[swarm]\nkey_env = "DIGITS_KEY"\n')
    result = learnae("check", "learnae.toml")
    assert result.returncode == 2
    assert "swarm.key_env: the variable DIGITS_KEY is not set" in result.stderr and "Traceback" not in result.stderr


def test_a_check_says_that_a_swarm_of_this_machine_is_open_here(learnae: Run, tmp_path: Path) -> None:
    (tmp_path / "learnae.toml").write_text("")
    assert "open to whoever can write to its folders" in learnae("check", "learnae.toml").stdout
