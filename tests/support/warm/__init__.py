"""Programs of tests that import torch are copies of one process that has it. `pytest.mark.real_interpreters`: not in this test."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.warm.client import READY, ROOT, WarmInterpreter

SERVER = Path(__file__).with_name("server.py")
LEAVE_SECONDS = 10.0
ROOM = " " * 20_000  # for what a copy is called, and for its environment


class WarmSession:
    """The process that has torch, from when it is first needed. Nobody waits until it is ready: programs start as they do for users."""

    def __init__(self) -> None:
        self._environment, self._paused = dict(os.environ), not sys.platform.startswith("linux")
        self._process: subprocess.Popen[bytes] | None = None
        self._ours: socket.socket | None = None
        self._interpreter: WarmInterpreter | None = None

    def __call__(self) -> WarmInterpreter | None:
        if self._paused:
            return None
        self.start()
        if self._interpreter is None:
            self.wait(0.0)
        return self._interpreter

    def start(self) -> None:
        """Let it import torch meanwhile."""
        if self._process is None:
            self._ours, theirs = socket.socketpair()
            with theirs:
                words = [sys.executable, str(SERVER), str(theirs.fileno()), str(ROOT), ROOM]
                room = {**self._environment, "ROOM": ROOM}
                self._process = subprocess.Popen(
                    words, env=room, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
                )

    def wait(self, seconds: float) -> bool:
        """Whether it is ready within so many seconds."""
        silent = self._interpreter is not None or self._ours is None or not select.select([self._ours], [], [], seconds)[0]
        if not silent and self._ours is not None and self._ours.recv(len(READY)) == READY:
            self._interpreter = WarmInterpreter(self._ours, self._environment)
        return self._interpreter is not None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, programs start as they do for users."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def close(self) -> None:
        self._paused = True
        if self._ours is not None and self._process is not None:
            self._ours.close()
            if self._interpreter is None:
                self._process.kill()  # it imports
            self._process.wait(LEAVE_SECONDS)
