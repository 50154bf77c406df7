"""Memory that two processes share and that no folder names: when both have ended, by whatever cause, it is gone."""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from pathlib import Path

from learnae.errors import ConfigError, Problem

SHM = Path("/dev/shm")


def create(nbytes: int) -> int:
    """A descriptor of `nbytes` that are reserved now, so that no later access can fail. Raises ConfigError without room."""
    fd = _nameless(nbytes)
    try:
        _reserve(fd, nbytes)
    except OSError as error:
        os.close(fd)
        what = f"cannot reserve {nbytes >> 20} MiB of shared memory, four copies of the model: {error}"
        raise ConfigError(Problem("model", what, "free some memory, or share less with [model] keep_local")) from error
    return fd


def view(fd: int, nbytes: int) -> mmap.mmap:
    """Map all of it, with every page in place: a first touch costs 0.7 ms a MiB. Raises ValueError if the file is shorter."""
    return mmap.mmap(fd, nbytes, flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))


def _nameless(nbytes: int) -> int:
    if sys.platform == "linux":
        return os.memfd_create("learnae")
    if os.name != "posix":
        raise ConfigError(Problem("platform", f"{sys.platform} is not supported yet", "use Linux, macOS, or WSL on Windows"))
    fd, path = tempfile.mkstemp(prefix="learnae-", dir=SHM if _has_room(SHM, nbytes) else None)
    os.unlink(path)
    return fd


def _has_room(folder: Path, nbytes: int) -> bool:
    try:
        room = os.statvfs(folder)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize > nbytes


def _reserve(fd: int, nbytes: int) -> None:
    os.ftruncate(fd, nbytes)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, nbytes)


def scratch() -> int:
    """A descriptor of a file that is empty and grows. Raises OSError."""
    return _nameless(0)
