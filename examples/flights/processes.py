"""Peers of this example as processes: started by their files, read by their lines, ended one by one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

HERE = Path(__file__).parent
END_SECONDS = 120.0


@attrs.frozen
class Peer:
    """`learnae run NAME.toml --json`. What it says goes to two files beside its home."""

    name: str
    home: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, name: str, folder: Path, keys: Iterable[str] = (), more: Sequence[str] = (), file: str | None = None) -> Peer:
        """With these keys of its file set anew, and more words for `learnae run`. All peers of a folder meet in it."""
        home = folder / name
        sets = [word for key in (f"peer.home={home}", *keys) for word in ("--set", key)]
        command = [*with_parent(), sys.executable, "-m", "learnae", "run", str(HERE / (file or f"{name}.toml")), "--json", *sets, *more]
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "XDG_STATE_HOME": str(folder)}
        folder.mkdir(parents=True, exist_ok=True)
        with home.with_suffix(".jsonl").open("w") as said, home.with_suffix(".log").open("w") as log:
            return cls(name, home, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=log, env=environment))

    @property
    def said(self) -> list[dict[str, Any]]:
        """The whole lines of JSON that it has written."""
        text = self.home.with_suffix(".jsonl").read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line.startswith("{")]

    @property
    def log(self) -> str:
        return self.home.with_suffix(".log").read_text()

    @property
    def has_failed(self) -> bool:
        return self.process.poll() not in (None, 0)

    def interrupt(self) -> None:
        """As by Ctrl-C, if it runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)


def with_parent() -> list[str]:
    """Words before a command that let it end when this process is killed, where there is such a program."""
    return [found, "--pdeathsig", "TERM", "--"] if (found := shutil.which("setpriv")) else []


@contextmanager
def ended(peers: Sequence[Peer] | Mapping[str, Peer]) -> Iterator[None]:
    """However this ends, all of them have ended then, also those that came later."""
    try:
        yield
    finally:
        running = list(peers.values() if isinstance(peers, Mapping) else peers)
        for peer in running:
            peer.interrupt()
        for peer in running:
            try:
                peer.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                peer.process.kill()
                peer.process.wait()
