"""Real Kubo daemons for a benchmark: loopback only, each on a repo of its own, ended for sure, also when the benchmark is interrupted."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

BUILT = Path(__file__).parents[1] / ".nodes" / "ipfs"
START_SECONDS = 60.0
TICKS = os.sysconf("SC_CLK_TCK")


def program() -> str:
    """Where Kubo is. Exits where it is not."""
    for candidate in (os.environ.get("LEARNAE_KUBO"), BUILT, shutil.which("ipfs")):
        if candidate and Path(candidate).exists():
            return str(candidate)
    sys.exit("Kubo is not here: `make nodes` builds it, with Go")


@attrs.define
class Kubo:
    """A daemon, and its command line."""

    program: str
    repo: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "IPFS_PATH": str(self.repo), "IPFS_TELEMETRY": "off"}

    @property
    def address(self) -> str:
        return (self.repo / "api").read_text().strip()

    def ipfs(self, *arguments: str) -> None:
        """What it says is thrown away: the goals are those of the command line at its best."""
        command = [self.program, *arguments]
        subprocess.run(command, env=self.environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self) -> None:
        self.ipfs("init", "--profile=test")
        self.process = subprocess.Popen([self.program, "daemon"], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        end = time.monotonic() + START_SECONDS
        while b"Daemon is ready" not in (line := self.process.stdout.readline()):
            if not line or time.monotonic() > end:
                sys.exit("a daemon did not start")

    @property
    def cpu_seconds(self) -> float:
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


@contextlib.contextmanager
def daemons(folder: Path, count: int) -> Iterator[list[Kubo]]:
    """So many, running."""
    before = {number: signal.signal(number, _leave) for number in (signal.SIGINT, signal.SIGTERM)}
    kubos = [Kubo(program(), folder / f"repo-{number}") for number in range(count)]
    try:
        for kubo in kubos:
            kubo.start()
        yield kubos
    finally:
        for kubo in kubos:
            kubo.end()
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _: object) -> None:
    sys.exit(128 + number)
