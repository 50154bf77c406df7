"""`learnae iota devnet`, as it is typed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs
import psutil
import pytest

from learnae import ConfigError
from learnae_iota.command import ports_from
from learnae_iota.devnet import Tangle, free_ports

pytestmark = pytest.mark.slow

PROGRAM = [str(Path(sys.executable).with_name("learnae")), "iota"]
OLD_PROGRAM = str(Path(sys.executable).with_name("learnae-iota"))
SECONDS = 60.0


@attrs.frozen
class Devnet:
    """One that runs."""

    process: subprocess.Popen[str]
    printed: str
    hornets: list[psutil.Process]

    def end(self, number: int) -> int:
        """The exit code, when no process is left."""
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        _, left = psutil.wait_procs(self.hornets, timeout=SECONDS)
        assert left == []
        return code


@pytest.fixture
def folder(keys: Path, tmp_path: Path) -> Path:
    """With the keys, which take seconds to make."""
    (tmp_path / "tangle").mkdir()
    (tmp_path / "tangle" / "keys").symlink_to(keys)
    return tmp_path / "tangle"


@pytest.fixture
def port() -> int:
    """With all that the devnet derives from it."""
    while True:
        (candidate,) = free_ports(1)
        try:
            for ports in ports_from(candidate.api, 2):
                ports.check_free()
        except (ConfigError, OverflowError):
            continue
        return candidate.api


@pytest.fixture
def devnet(hornet: str, folder: Path, port: int) -> Iterator[Callable[[], Devnet]]:
    """Types it, and waits until it has printed what to paste."""
    with ExitStack() as undo:

        def start() -> Devnet:
            command = [*PROGRAM, "devnet", str(folder), "--port", str(port)]
            process = subprocess.Popen(command, env={**os.environ, "LEARNAE_HORNET": hornet}, stdout=subprocess.PIPE, text=True)
            undo.callback(process.wait, SECONDS)
            undo.callback(process.kill)
            assert process.stdout is not None
            undo.callback(process.stdout.close)
            printed = "".join(process.stdout.readline() for _ in range(3))
            return Devnet(process, printed, psutil.Process(process.pid).children(recursive=True))

        yield start


def refused(folder: Path, *words: str, **variables: str) -> str:
    """What it says on stderr when it ends with 2, typed beside the folder."""
    command, environment = [*PROGRAM, "devnet", str(folder), *words], {**os.environ, **variables}
    result = subprocess.run(command, cwd=folder.parent, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert (result.returncode, result.stdout) == (2, "")
    return result.stderr


def test_it_prints_what_to_paste_and_ends_with_ctrl_c(devnet: Callable[[], Devnet], port: int) -> None:
    running = devnet()
    nodes = [f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"]
    assert tomllib.loads(running.printed) == {"announcer": [{"use": "iota", "nodes": nodes}]}
    assert len([process for process in running.hornets if process.name() == "hornet"]) == 2
    assert running.end(signal.SIGINT) == 130


def test_it_leaves_nothing_behind_when_it_is_killed(devnet: Callable[[], Devnet]) -> None:
    assert devnet().end(signal.SIGKILL) == -signal.SIGKILL
    assert devnet().end(signal.SIGTERM) == 130


def test_a_folder_has_one_devnet_at_a_time(devnet: Callable[[], Devnet], folder: Path, hornet: str) -> None:
    running = devnet()
    message = refused(folder, LEARNAE_HORNET=hornet)
    assert f"is used by process {running.process.pid} (end it, or name another folder)" in message


def test_a_taken_port_is_named_with_the_option_that_changes_it(shared_tangle: Tangle, folder: Path, hornet: str) -> None:
    taken = shared_tangle.nodes[0].ports.api
    message = refused(folder, "--nodes", "1", "--port", str(taken), LEARNAE_HORNET=hornet)
    assert f"127.0.0.1:{taken} cannot be used" in message
    assert "choose another with --port" in message


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, hornet: str) -> None:
    (tmp_path / "thesis.tex").touch()
    assert "holds something else than a tangle" in refused(tmp_path, LEARNAE_HORNET=hornet)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_without_hornet_it_says_how_to_get_it(tmp_path: Path) -> None:
    message = refused(tmp_path / "tangle", PATH="", LEARNAE_HORNET="")
    assert "hornet: is not installed" in message
    assert "make nodes" in message


def test_a_hornet_that_is_named_wrongly_is_not_replaced_by_another(tmp_path: Path) -> None:
    message = refused(tmp_path / "tangle", LEARNAE_HORNET=str(tmp_path / "nowhere"))
    assert f"LEARNAE_HORNET: {tmp_path / 'nowhere'} is no program" in message


def test_a_program_that_is_no_hornet_is_told_from_one(tmp_path: Path) -> None:
    message = refused(tmp_path / "tangle", LEARNAE_HORNET=shutil.which("true") or "")
    assert "made no keys" in message
    assert "make nodes" in message


def test_the_old_name_of_the_command_runs_it_and_says_the_new_one() -> None:
    done = subprocess.run([OLD_PROGRAM, "devnet", "--help"], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert "--milestone-seconds" in done.stdout and "`learnae iota`" in done.stderr
