"""Programs of tests that import torch are copies of one process that has it. `pytest.mark.real_interpreters`: not in this test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.warm.client import ROOT, WarmInterpreter

SERVER = Path(__file__).with_name("server.py")
LEAVE_SECONDS = 10.0
ROOM = " " * 20_000  # for what a copy is called, and for its environment


class WarmSession:
    """The process that has torch: it is started when it is first needed."""

    def __init__(self) -> None:
        self._environment, self._paused = dict(os.environ), not sys.platform.startswith("linux")
        self._process: subprocess.Popen[bytes] | None = None
        self._ours: socket.socket | None = None
        self._interpreter: WarmInterpreter | None = None

    def __call__(self) -> WarmInterpreter | None:
        if self._paused:
            return None
        if self._interpreter is None:
            self._ours, theirs = socket.socketpair()
            with theirs:
                words = [sys.executable, str(SERVER), str(theirs.fileno()), str(ROOT), ROOM]
                room = {**self._environment, "ROOM": ROOM}
                self._process = subprocess.Popen(
                    words, env=room, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
                )
            self._interpreter = WarmInterpreter(self._ours, self._environment)
        return self._interpreter

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
            self._process.wait(LEAVE_SECONDS)
