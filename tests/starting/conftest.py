from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import attrs
import pytest

SECONDS = 240.0  # busy machines take long to import torch
ROOT = Path(__file__).parents[2]


@attrs.frozen
class Shell:
    """Types commands, in a folder, with the programs of one environment first on the path."""

    folder: Path
    programs: Path
    undo: ExitStack = attrs.field(factory=ExitStack)

    @property
    def environment(self) -> dict[str, str]:
        offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        return {**os.environ, **offline, "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}"}

    def homes(self, swarm: str) -> Path:
        return Path(os.environ["XDG_STATE_HOME"], "learnae", "homes", swarm)

    def at(self, folder: str) -> Shell:
        return attrs.evolve(self, folder=self.folder / folder)

    def run(self, command: str) -> str:
        """What it prints. Fails the test with all of it unless the exit status is 0."""
        result = subprocess.run(shlex.split(command), cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    def start(self, command: str) -> Peer:
        words = shlex.split(command)
        environment = {**self.environment, **dict(word.split("=", 1) for word in words if re.match(r"[A-Z]+=", word))}
        words = [word for word in words if not re.match(r"[A-Z]+=", word)]
        process = subprocess.Popen(words, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        peer = Peer(process)
        self.undo.callback(peer.kill)
        return peer


class Peer:
    """A running command, whose lines are collected as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.out, self.err = process, list[str](), list[str]()
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((process.stdout, self.out), (process.stderr, self.err))
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    def shows(self, enough: Callable[[str], object], lines: list[str] | None = None) -> str:
        """Wait for a line of its output, or of others."""
        looked_at = self.out if lines is None else lines
        with self._news:
            self._news.wait_for(lambda: any(map(enough, looked_at)) or self.process.poll() is not None, SECONDS)
            assert any(map(enough, looked_at)), f"it never came: {self.out} {self.err}"
            return next(filter(enough, looked_at))

    def goes_on_from(self) -> int:
        """Wait until `learnae run` says at which step it goes on."""
        return _count("step", self.shows(lambda line: "going on from" in line, self.err))

    def counts(self, name: str, least: int) -> int:
        """Wait until a line of `learnae run` counts so many of something ("hears 1", "merged 3"); how many."""
        return _count(name, self.shows(lambda line: _count(name, line) >= least))

    def ends(self, number: int = signal.SIGINT) -> int:
        """Interrupt it, as Ctrl-C does; its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        for reader in self._readers:
            reader.join(10)
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            self.ends()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    lines.append(line.rstrip())
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()


def _count(name: str, line: str) -> int:
    found = re.search(rf"\b{name} ([\d,]+)", line)
    return int(found.group(1).replace(",", "")) if found else 0


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Shell]:
    """The environment that runs the tests."""
    with ExitStack() as undo:
        yield Shell(tmp_path, Path(sys.executable).parent, undo)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Learnae, its plugins and the example, as they would be published."""
    folder = tmp_path_factory.mktemp("wheels")
    for source in (ROOT, *sorted((ROOT / "plugins").iterdir()), ROOT / "examples" / "learnae-winsorized-mean"):
        subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=source, check=True)
    return sorted(folder.iterdir())


@pytest.fixture
def without_us(tmp_path: Path) -> Iterator[Shell]:
    """A new environment that borrows all that the tests have, but nothing of Learnae."""
    programs, borrowed = tmp_path / "venv" / "bin", tmp_path / "borrowed"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(programs.parent)], check=True)
    borrowed.mkdir()
    for one in Path(sysconfig.get_path("purelib")).iterdir():
        if "learnae" not in one.name and one.suffix != ".pth":
            (borrowed / one.name).symlink_to(one)
    (site,) = programs.parent.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    with ExitStack() as undo:
        yield Shell(tmp_path, programs, undo)


@pytest.fixture
def elsewhere(wheels: list[Path], tmp_path: Path) -> Iterator[Shell]:
    """A new environment with these wheels, far from the checkout.

    What they depend on it borrows from the environment of the tests, which is too large to be copied: pip still checks the versions.
    """
    programs = tmp_path / "venv" / "bin"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(programs.parent)], check=True)
    (site,) = programs.parent.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    with ExitStack() as undo:
        shell = Shell(tmp_path, programs, undo)
        lacking = "" if find_spec("libp2p") else "--no-deps"  # it has to be compiled, which set-up leaves out where it cannot
        shell.run(f"python -m pip install --quiet {lacking} {' '.join(map(str, wheels))}")
        (programs / "pip").write_text(f'#!/bin/sh\nexec {programs}/python -m pip "$@"\n')
        (programs / "pip").chmod(0o755)
        yield shell
