"""A peer's home, locked by the peer that uses it.

The lock is `flock` on `home/lock`. It belongs to the open file, which trainer and node share. It lasts while either process lives, and no
crash leaves it behind. The file names the processes that hold the lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from learnae import opening
from learnae.errors import ConfigError, Problem
from learnae.identity.home_folder import PLUGINS, HomeFolder, open_home
from learnae.shared_folder import make_closed, make_plainly

LOCK = "lock"
_RETRY_SECONDS = 0.05
_MOST_HOMES = 1000
_LOCK_BYTES = 4096


@attrs.define
class Home:
    """The home of one peer, locked until `close`. It is also a context manager."""

    path: Path
    lock_fd: int  # -1 once closed. Hand it to a child by `subprocess.Popen(..., pass_fds=[home.lock_fd])`

    @classmethod
    def inherit(cls, path: Path, fd: int) -> Home:
        """The same home in a child process that has inherited the descriptor. Raises ConfigError if that does not hold this lock."""
        try:
            with open_home(path) as folder:
                is_its_lock = _is_file_of(fd, folder)
            if not is_its_lock:
                raise _problem(path, "the descriptor that was handed over is not of its lock", "start the node through learnae.join()")
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _name(fd, {*holders(path), os.getpid()})
        except BlockingIOError:
            raise _in_use(path) from None
        except OSError as error:
            raise _unusable(path, error) from error
        os.set_inheritable(fd, False)
        return cls(path, fd)

    @property
    def key_path(self) -> Path:
        return self.path / "key"

    @property
    def history_path(self) -> Path:
        return self.path / "history.sqlite"

    def make_room_for_plugins(self) -> None:
        """Their folder, closed to others: each plugin makes its own in it by its umask. Raises ConfigError, OSError."""
        with open_home(self.path) as folder, folder.subfolder(PLUGINS, make=True):
            pass

    def close(self) -> None:
        """Release the lock. Another process that shares it keeps it."""
        if self.lock_fd >= 0:
            os.close(self.lock_fd)  # never LOCK_UN: that would unlock it for the other process too
            self.lock_fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def claim(path: Path, *, wait_seconds: float = 0) -> Home:
    """Make this home, if it is missing, and lock it. Waits `wait_seconds` for another peer to leave it.

    Raises ConfigError with the number of the process that uses it.
    """
    _make_folder(path)
    deadline = time.monotonic() + wait_seconds
    while (home := _try_claim(path)) is None:
        if time.monotonic() >= deadline:
            raise _in_use(path)
        time.sleep(_RETRY_SECONDS)
    return home


def claim_free(parent: Path) -> Home:
    """Lock the first of `parent/peer-1`, `parent/peer-2`, ... that nobody uses, and make it if it is missing. Raises ConfigError.

    `parent` is a default, which the user did not name: it is made for this user alone.
    """
    for number in range(1, _MOST_HOMES + 1):
        path = parent / f"peer-{number}"
        _make_folder(path, unnamed=True)
        if home := _try_claim(path):
            return home
    raise _problem(parent, f"all of its {_MOST_HOMES} homes are in use", "end some peers, or name a home of its own for this one")


def holders(path: Path) -> tuple[int, ...]:
    """The living processes that the lock of this home names. If it is locked, they hold it."""
    try:
        with open_home(path, looking=True) as folder, os.fdopen(folder.open(LOCK), "rb") as file:
            whole_lines = file.read(_LOCK_BYTES).rpartition(b"\n")[0]
    except (OSError, ConfigError):
        return ()
    return tuple(int(pid) for pid in whole_lines.split() if pid.isdigit() and _alive(int(pid)))


def _try_claim(path: Path) -> Home | None:
    try:
        with open_home(path) as folder:
            return _lock(folder)
    except OSError as error:
        raise _unusable(path, error) from error


def _lock(folder: HomeFolder) -> Home | None:
    path, fd = folder.path, folder.open(LOCK, os.O_RDWR | os.O_CREAT)
    home = Home(path, fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_file_of(fd, folder):  # somebody has removed it meanwhile
            home.close()
            return _lock(folder)
        _name(fd, {os.getpid()})
    except BlockingIOError:
        home.close()
        return None
    except BaseException:  # a full disk, or a Ctrl-C: nobody would hold the home, and it would be locked
        home.close()
        raise
    return home


def _name(fd: int, pids: Collection[int]) -> None:
    """Write the processes that hold the lock into it, and no others. So a node that dies again and again does not let the file grow."""
    os.ftruncate(fd, 0)
    os.pwrite(fd, "".join(f"{pid}\n" for pid in sorted(pids)).encode(), 0)


def _make_folder(path: Path, *, unnamed: bool = False) -> None:
    try:
        try:
            os.close(opening.reach(path, unnamed=unnamed, make=make_closed))
        except FileNotFoundError:  # one above it
            os.close(opening.reach(path.parent, unnamed=unnamed, make=make_closed if unnamed else make_plainly, parents=True))
            os.close(opening.reach(path, unnamed=unnamed, make=make_closed))
    except OSError as error:
        raise _unusable(path, error) from error


def _is_file_of(fd: int, folder: HomeFolder) -> bool:
    found = opening.look(LOCK, at=folder.fd)
    return found is not None and os.path.samestat(os.fstat(fd), found)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid > 0


def _in_use(path: Path) -> ConfigError:
    pids = ", ".join(map(str, holders(path)))
    return _problem(path, f"another peer uses this home (process {pids or 'unknown'})", "end that one, or name another home")


def _unusable(path: Path, error: OSError) -> ConfigError:
    cause = f"{error.filename} {error.strerror}" if isinstance(error, opening.UnfitError) else error.strerror
    return _problem(path, f"this home cannot be used: {cause}", "name a home in a folder of your own, on a disk with room")


def _problem(path: Path, message: str, remedy: str) -> ConfigError:
    return ConfigError(Problem(f"peer.home {path}", message, remedy))
