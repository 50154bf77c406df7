"""Real peers as processes of their own: each is started again when it ends before it is done, as an operator's service manager would."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from learnae.identity.homes import holders

RESTART_SECONDS = 0.5
REAP_SECONDS = 30.0


@attrs.define
class PeerProcess:
    """One peer over all of its lives. It is done when its command ends by itself with exit code 0."""

    name: str
    command: Sequence[str]
    folder: Path  # in which it runs
    home: Path
    log: Path  # what it prints, of all lives
    environment: Mapping[str, str] = attrs.field(factory=dict)
    ends: list[int] = attrs.field(factory=list)  # exit codes; negative: the signal that ended it
    done: bool = False
    _process: subprocess.Popen[bytes] | None = None
    _again_at: float = 0.0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def trainer(self) -> int | None:
        return self._process.pid if self._process is not None and self.running else None

    @property
    def node(self) -> int | None:
        """The other process that holds the lock of the home."""
        own = self.trainer
        return next((pid for pid in holders(self.home) if pid != own and _is_node(pid)), None)

    def tend(self, now: float) -> None:
        """Start it, or take note of its end."""
        if self._process is not None and self._process.poll() is not None:
            self.ends.append(self._process.returncode)
            self.done = self._process.returncode == 0
            self._process, self._again_at = None, now + RESTART_SECONDS
        if self._process is None and not self.done and now >= self._again_at:
            self._start()

    def watch(self) -> int | None:
        """A descriptor that becomes readable when the trainer ends."""
        return os.pidfd_open(self.trainer) if self.trainer is not None else None

    def end(self) -> None:
        """Both processes, at once."""
        for pid in (self.trainer, self.node):
            if pid is not None:
                send(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(REAP_SECONDS)

    def _start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                list(self.command),
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


@attrs.define
class PeerProcesses:
    """All peers of a swarm. Leaving its `with` ends every process that is left."""

    members: Sequence[PeerProcess]

    @property
    def done(self) -> bool:
        return all(member.done for member in self.members)

    @property
    def working(self) -> list[PeerProcess]:
        return [member for member in self.members if member.running]

    def tend(self, until: float) -> None:
        """Keep them running until then, on the monotonic clock, or until all are done."""
        while not self.done and (now := time.monotonic()) < until:
            for member in self.members:
                member.tend(now)
            self._wait(min(until, now + RESTART_SECONDS))

    def _wait(self, until: float) -> None:
        watched = [fd for member in self.members if (fd := member.watch()) is not None]
        try:
            select.select(watched, [], [], max(0.0, until - time.monotonic()))
        finally:
            for fd in watched:
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for member in self.members:
            member.end()


def send(pid: int, number: signal.Signals) -> None:
    """To a process that may just have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _is_node(pid: int) -> bool:
    try:
        return b"learnae.node" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
