"""Two real peers of an example, by the command that its README gives, stopped by the steps that they have made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

Moments = list[dict[str, Any]]


@attrs.frozen
class Peer:
    """`learnae run` in a process of its own."""

    home: Path
    process: subprocess.Popen[str]

    def until(self, steps: int, merged: int = 1) -> Moments:
        """What it says, until it has made so many steps and merged so many updates. It measures the model as it was merged last."""
        assert self.process.stdout is not None
        said: Moments = []
        while not said or said[-1]["step"] < steps or said[-1]["merged"] < merged:
            line = self.process.stdout.readline()
            assert line, self.home.with_suffix(".log").read_text()
            said.append(json.loads(line))
        return said

    def interrupt(self) -> int:
        """As by Ctrl-C: the exit code."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=300)
        return self.process.returncode


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Peer]]:
    """A function that starts a peer of an example, with these variables and these keys."""
    peers: list[Peer] = []

    def begin(example: str, *keys: str, **variables: str) -> Peer:
        home = tmp_path / f"peer-{len(peers)}"
        sets = [word for key in (f"peer.home={home}", *keys) for word in ("--set", key)]
        command = [sys.executable, "-m", "learnae", "run", str(EXAMPLES / example / "learnae.toml"), "--json", *sets]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
        with home.with_suffix(".log").open("w") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True)
        peers.append(Peer(home, process))
        return peers[-1]

    yield begin
    for peer in peers:
        peer.process.kill()
        peer.process.communicate()
