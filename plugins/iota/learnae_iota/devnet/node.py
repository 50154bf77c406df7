"""One Hornet in a folder of its own."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from learnae import UnavailableError
from learnae_iota.devnet.api import call, connected_peers, synchronised
from learnae_iota.devnet.keys import SEED_VARIABLE, Keys
from learnae_iota.devnet.ports import LOOPBACK, Ports
from learnae_iota.devnet.program import Running

START_SECONDS = 60.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.05

FATAL = re.compile(r"\b(PANIC|FATAL|panic:)")


@attrs.define(eq=False)
class HornetProcess:
    """Starts, ends and starts again. Its methods block: call them in a thread where other work must go on."""

    name: str
    folder: Path
    program: str
    keys: Keys
    ports: Ports
    issues: bool
    write_settings: Callable[[], None]
    _running: Running | None = None

    @property
    def url(self) -> str:
        """What the announcer's `nodes` takes."""
        return f"http://{LOOPBACK}:{self.ports.api}"

    @property
    def feed(self) -> str:
        """Where the node tells of new transactions (ZMQ)."""
        return f"tcp://{LOOPBACK}:{self.ports.feed}"

    @property
    def log(self) -> Path:
        return self.folder / "hornet.log"

    @property
    def database(self) -> Path:
        return self.folder / "database"

    @property
    def _unclean(self) -> Path:
        """There from a start until an end in order."""
        return self.database / "unclean"

    @property
    def ended_in_order(self) -> bool:
        return not self._unclean.exists()

    @property
    def alive(self) -> bool:
        return self._running is not None and self._running.alive

    @property
    def pid(self) -> int | None:
        return self._running.process.pid if self._running else None

    def start(self, *, wait: bool = True) -> None:
        """Start it, on what its folder holds. Raises ConfigError if a port is taken, UnavailableError if it does not come up."""
        self.ports.check_free()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_settings()
        self.log.unlink(missing_ok=True)
        new = not self.database.exists()
        self.database.mkdir(exist_ok=True)
        self._unclean.touch()
        command = [self.program, *(["--cooBootstrap"] if self.issues and new else [])]
        self._running = Running.start(command, self.folder, self.log, {SEED_VARIABLE: self.keys.seed} if self.issues else {})
        if wait:
            self.wait_until(lambda: True)

    def wait_until(self, ready: Callable[[], object]) -> None:
        """Until it answers, and this is true besides; it may ask the node. Raises UnavailableError."""
        end = time.monotonic() + START_SECONDS
        while not self._answers(ready):
            if not self.alive or time.monotonic() > end:
                raise UnavailableError(f"{self.name} did not start: {self.last_words()} ({self.log})")
            time.sleep(LOOK_SECONDS)

    def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """One call of its API. Raises OSError."""
        return call(self.url, command, **arguments)

    @property
    def synchronised(self) -> bool:
        """Whether it knows all of the tangle up to the newest milestone, and there is one."""
        return synchronised(self.url)

    def is_connected_with(self, other: Ports) -> bool:
        return f"{LOOPBACK}:{other.gossip}" in connected_peers(self.url)

    @property
    def connected_peers(self) -> int:
        return len(connected_peers(self.url))

    def ask_to_end(self) -> None:
        """So that several can end at the same time; stop() must follow."""
        if self._running is not None:
            self._running.ask_to_end()

    def stop(self) -> None:
        """End it in order, so that it can go on where it was."""
        running, self._running = self._running, None
        if running is not None and running.stop(STOP_SECONDS):
            self._unclean.unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL. At its next start Hornet throws away what is newer than its snapshot, and asks its peers for it."""
        running, self._running = self._running, None
        if running is not None:
            running.kill()

    def forget(self) -> None:
        """Throw away all that it knows of the tangle, while it is not running."""
        shutil.rmtree(self.database, ignore_errors=True)

    def last_words(self) -> str:
        """Why it ended, as far as its log says."""
        lines = self.log.read_text(errors="replace").splitlines() or ["it said nothing"]
        return next((line for line in lines if FATAL.search(line)), lines[-1]).split("\t")[-1]

    def _answers(self, ready: Callable[[], object]) -> bool:
        try:
            return bool(self.call("getNodeInfo") and ready())
        except OSError:
            return False
