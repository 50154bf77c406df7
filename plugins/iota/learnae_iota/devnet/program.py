"""Where Hornet is, and how it is started: alone, silent, and never longer than the process that started it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from learnae import ConfigError, Problem

VARIABLE = "LEARNAE_HORNET"
GET_IT = f"build it with `make nodes` in a checkout of Learnae, which needs Go; then set {VARIABLE} to the file, or put it on the PATH"

# Hornet asks for its newest version when it starts and each hour; through a proxy that nobody serves it cannot.
CALLS_NOBODY = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}

# A line on its standard input lets the guard go; the end of it without a line means that whoever started it is gone.
GUARDED = 'exec 3<&0 </dev/null; (read -r _ <&3 || kill -9 $$) & exec "$@" 3<&-'


def find_hornet() -> str:
    """The Hornet that the environment names, or of the PATH. Raises ConfigError.

    Never one of the folder of work, which may be anybody's, also where the PATH names that.
    """
    named = os.environ.get(VARIABLE)
    if named and not os.access(named, os.X_OK):
        raise ConfigError(Problem(VARIABLE, f"{named} is no program", GET_IT))
    found = named or shutil.which("hornet")
    if not found or not (named or os.path.isabs(found)):
        raise ConfigError(Problem("hornet", "is not installed", GET_IT))
    return found


def environment(**more: str) -> dict[str, str]:
    """Little, and nothing that would change Hornet's settings, or have a program looked for in the folder of work."""
    path = [entry for entry in os.environ.get("PATH", "").split(os.pathsep) if os.path.isabs(entry)]
    return {"PATH": os.pathsep.join(path) or os.defpath, **CALLS_NOBODY, **more}


@attrs.define
class Running:
    """A program that ends when this process ends, however this process ends; Ctrl-C does not reach it."""

    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, command: Sequence[str], folder: Path, log: Path, settings: Mapping[str, str]) -> Running:
        words = ["/bin/sh", "-c", GUARDED, "sh", *command]
        with log.open("ab") as lines:
            process = subprocess.Popen(
                words, cwd=folder, env=environment(**settings), stdin=subprocess.PIPE, stdout=lines, stderr=lines, start_new_session=True
            )
        return cls(process)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def ask_to_end(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self, seconds: float) -> bool:
        """Ask it to end, and end it if it does not; whether it ended by itself, in order."""
        self.ask_to_end()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return self._ended() == 0

    def kill(self) -> None:
        self.process.kill()
        self._ended()

    def _ended(self) -> int:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # if somebody has ended the guard
            self.process.stdin.write(b"\n")
            self.process.stdin.close()
        return self.process.wait()
