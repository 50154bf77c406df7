"""The README for two machines, typed line by line on two machines: with one address, and with none where multicast goes through."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import pytest

pytest.importorskip("libp2p", reason="needs a C compiler and headers: apt-get install build-essential python3-dev libgmp-dev")

from plugins.libp2p.tests.support.namespaces import Machine, network
from tests.support.small_trainer import SMALL_TRAINER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("networks")]

PAGE = (Path(__file__).parents[1] / "README.md").read_text().partition("## Two machines")[2].partition("\n## ")[0]
(FILE,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
FIRST, SECOND = re.findall(r"^    (learnae run .*)$", PAGE, re.MULTILINE)
(SHOWN,) = set(re.findall(r"/ip4/[0-9.]+/tcp/4101/p2p/\w+", PAGE))
SLOWLY = SMALL_TRAINER.replace("import learnae", "import time\nimport learnae").replace(
    "torch.ones(2, 4)", "time.sleep(0.01) or torch.ones(2, 4)"
)


@attrs.define(eq=False)
class Typed:
    """A command that runs on a machine. What it shows is read as it comes."""

    process: subprocess.Popen[str]
    lines: list[str] = attrs.field(factory=list)

    def shows(self, enough: Callable[[str], object]) -> str:
        """The next line of this kind. The timeout of the test bounds it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if enough(line):
                return line.strip()
        raise AssertionError(f"it never came: {self.lines}")

    def ends(self) -> int:
        """Its exit code after Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout is not None
        self.lines += self.process.stdout.read().splitlines()
        return self.process.wait()


def typed(machine: Machine, folder: Path, command: str) -> subprocess.Popen[str]:
    """As somebody types it there; a run that is killed takes it along."""
    words = [sys.executable, "-m", *shlex.split(command)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        machine.space.inside(*words), cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@attrs.frozen
class TwoMachines:
    """Each with a folder that has the file of the page."""

    machines: tuple[Machine, Machine]
    folders: tuple[Path, Path]
    stack: ExitStack

    def run(self, which: int, command: str) -> Typed:
        """Ended, if it has not ended by itself, before the machines are gone."""
        process = self.stack.enter_context(typed(self.machines[which], self.folders[which], command))
        self.stack.callback(process.kill)
        return Typed(process)


@contextmanager
def two_machines(folder: Path) -> Iterator[TwoMachines]:
    with network() as made, ExitStack() as stack:
        folders = (folder / "one", folder / "two")
        for place in folders:
            place.mkdir()
            (place / "learnae.toml").write_text(FILE)
            (place / "train.py").write_text(SLOWLY)
        machines = (made.add("10.77.0.1"), made.add("10.77.0.2"))
        for machine in machines:
            machine.space.run("ip", "route", "add", "default", "dev", "eth0")  # which multicast takes, too
        yield TwoMachines(machines, folders, stack)


def train_together(*peers: Typed) -> None:
    for peer in peers:
        peer.shows(lambda line: re.search(r"hears 1, merged [1-9]", line))
    assert [peer.ends() for peer in peers] == [130, 130]


def test_the_second_needs_one_address_that_the_first_has_told(tmp_path: Path) -> None:
    with two_machines(tmp_path) as two:
        first = two.run(0, FIRST)
        address = first.shows(lambda line: "/p2p/" in line)
        assert address.startswith("/ip4/10.77.0.1/tcp/4101/p2p/12D3KooW")
        told = two.run(0, "learnae status --json").process.stdout
        assert told is not None and json.load(told)["addresses"] == [address]
        second = two.run(1, SECOND.replace(SHOWN, address).replace("]'", "]' --set announcer.mdns=false"))
        second.shows(lambda line: re.search(r"hears 1, merged [1-9]", line))
        shown = two.run(1, "learnae status").process.stdout
        assert shown is not None and re.search(r"file .*eth0 /ip4/10\.77\.0\.1/tcp/4101", shown.read())
        train_together(first, second)


def test_on_one_network_the_second_needs_no_address(tmp_path: Path) -> None:
    with two_machines(tmp_path) as two:
        train_together(two.run(0, FIRST), two.run(1, FIRST))
