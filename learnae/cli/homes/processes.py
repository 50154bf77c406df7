"""Who runs in a home, found out without touching its lock: trying a lock, even for an instant, may keep a peer from starting."""

from __future__ import annotations

from pathlib import Path

import attrs

from learnae.identity.homes import LOCK, holders

NODE = b"learnae.node"


@attrs.frozen
class Processes:
    """The processes of a peer; None where it is not there."""

    trainer: int | None = None
    node: int | None = None

    @property
    def running(self) -> bool:
        return self.trainer is not None or self.node is not None


def processes_of(home: Path) -> Processes:
    """The living processes that hold this home's lock."""
    pids = [pid for pid in holders(home) if _holds(pid, home / LOCK)]
    nodes = [pid for pid in pids if _is_node(pid)]
    trainers = [pid for pid in pids if pid not in nodes]
    return Processes(next(iter(trainers), None), next(iter(nodes), None))


def _holds(pid: int, lock: Path) -> bool:
    """Whether the process has the lock open: its number may be that of another by now. Where that cannot be seen, it is believed."""
    try:
        opened = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return True
    return any(_same(file, lock) for file in opened)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # closed meanwhile
        return False


def _is_node(pid: int) -> bool:
    try:
        return NODE in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
