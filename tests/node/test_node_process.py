"""The node's process as its trainer sees it: when it is up, and with what code it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import learnae
from learnae.identity.homes import claim
from learnae.link import memory
from learnae.link.memory import Layout
from learnae.link.messages import MAX_START, Failed, Hello, Lines, Message, Start, TrainerProgress, Want
from learnae.records import TensorSpec

SPECS = (TensorSpec(name="w", dtype="float32", shape=(4,)),)
LIMIT_SECONDS = 60


class Process:
    """A node, and the trainer's end of its link."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.lines, self.home, self.strategy_states = Lines(), claim(folder / "home"), memory.create(Layout.of(SPECS).total_bytes)
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(LIMIT_SECONDS)
        fds = (theirs.fileno(), self.strategy_states, self.home.lock_fd)
        with theirs:
            self.process = run_node("--link-fd", str(theirs.fileno()), pass_fds=fds)
        hello = Hello("run", "session", TrainerProgress(0, b"", 0, 0, 0, 0.0), SPECS)
        start = Start(hello, config, str(folder), str(self.home.path), self.strategy_states, self.home.lock_fd)
        self.socket.sendall(self.lines.encode(start, MAX_START))
        self.file = self.socket.makefile("rb")

    def says(self) -> Iterator[Message]:
        while line := self.file.readline():
            yield self.lines.decode(line)

    def is_up(self) -> bool:
        return any(isinstance(message, Want) for message in self.says())

    def last_words(self) -> Failed:
        *_, last = self.says()
        assert isinstance(last, Failed)
        return last

    def ends(self) -> int:
        return self.process.wait(LIMIT_SECONDS)

    def close(self) -> None:
        self.file.close()
        self.socket.close()
        os.close(self.strategy_states)
        self.home.close()
        self.process.kill()
        self.process.communicate()


def run_node(*arguments: str, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(learnae.__file__).parents[1])}
    command = [sys.executable, "-m", "learnae.node", *arguments]
    return subprocess.Popen(command, pass_fds=pass_fds, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Any]:
    made: list[Process] = []

    def make(**config: Any) -> Process:
        made.append(Process(tmp_path, config))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_sigterm_is_a_clean_leave(node):
    running = node()
    assert running.is_up()
    running.process.send_signal(signal.SIGTERM)
    assert running.ends() == 0
    assert "Traceback" not in running.process.stderr.read()


def test_sigint_is_for_the_trainer_whose_end_then_ends_the_node(node):
    running = node()
    assert running.is_up()
    running.process.send_signal(signal.SIGINT)
    running.socket.shutdown(socket.SHUT_WR)
    assert running.ends() == 0
    assert "Traceback" not in running.process.stderr.read()


def test_a_wrong_file_ends_it_with_2_and_every_problem(node):
    running = node(train={"local_step": 3}, merge={"use": "avrage"})
    failed = running.last_words()
    assert running.ends() == 2
    assert {problem.key for problem in failed.problems} == {"train.local_step", "merge.use"}


def test_a_plugin_that_breaks_when_it_is_made_ends_it_with_3_and_its_name(node, tmp_path):
    (tmp_path / "mine.py").write_text("import learnae\nclass Broken(learnae.Merge):\n    def __init__(self, *a): 1 / 0\n    merge = None\n")
    running = node(merge={"use": "mine:Broken"})
    failed = running.last_words()
    assert running.ends() == 3
    assert (failed.plugin, "ZeroDivisionError" in failed.cause) == ("mine.py", True)


BROKEN_STORAGE = """
from learnae import Storage

class Broken(Storage):
    leaves_machine = False

    async def __aenter__(self):
        raise AttributeError("wrong version")
    async def put(self, root, blocks): ...
    async def get(self, cids, deliver, *, hints=()): ...
    async def drop(self, root): ...
    async def roots(self): return []
"""


def test_a_plugin_that_breaks_when_it_starts_ends_it_with_3_and_its_name(node, tmp_path):
    (tmp_path / "mine.py").write_text(BROKEN_STORAGE)
    running = node(storage={"use": "mine:Broken"})
    failed = running.last_words()
    assert running.ends() == 3
    assert (failed.plugin, "wrong version" in failed.cause) == ("mine.py", True)


def test_a_folder_that_cannot_be_made_does_not_keep_it_from_running(node, tmp_path):
    (tmp_path / "file").write_text("in the way")
    running = node(storage={"use": "directory", "path": str(tmp_path / "file" / "blocks")})
    assert running.is_up()
    running.process.send_signal(signal.SIGTERM)
    assert running.ends() == 0
    assert '"event": "outage"' in running.process.stderr.read()


@pytest.mark.parametrize("arguments", [[], ["--link-fd"], ["--link-fd", "many"]], ids=["nothing", "no number", "no digits"])
def test_started_by_hand_it_says_what_to_do_instead(arguments):
    process = run_node(*arguments)
    _, said = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 2
    assert "learnae.join()" in said
    assert "Traceback" not in said


def test_a_trainer_that_is_gone_before_it_has_said_anything_ends_it_quietly():
    ours, theirs = socket.socketpair()
    with theirs:
        process = run_node("--link-fd", str(theirs.fileno()), pass_fds=(theirs.fileno(),))
    ours.close()
    _, said = process.communicate(timeout=LIMIT_SECONDS)
    assert (process.returncode, said) == (0, "")
