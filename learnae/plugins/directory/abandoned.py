"""Packs of peers that are gone for good: in a folder that many share, somebody has to clear them away.

A peer touches its own packs once a day while it runs, so the age of a file tells for how long its peer has been away. Ages are differences
between times of files, which all come from the machine that keeps them: the clock of a peer alone removes nothing.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from learnae.opening import folder as opened
from learnae.opening import look
from learnae.plugins.directory.packs import owner_of_draft, parts
from learnae.shared_folder import create, may_remove, remove

DAY = 86_400.0
MOST_LOOKED_AT, MOST_REMOVED = 20_000, 1_000  # in one go
STEP = 500  # looked at in one call in a thread


def touch(files: Iterable[str], at: int) -> None:
    """Show that their peer is alive. A time far ahead is one of a clock that has been wrong since, here or there."""
    for file in files:
        with suppress(OSError):
            found = look(file, at=at)
            if found and stat.S_ISREG(found.st_mode) and abs(time.time() - found.st_mtime) > DAY:
                os.utime(file, dir_fd=at, follow_symlinks=False)


def now_by(probe: str, at: int) -> float | None:
    """What the time is where the files are kept, by a new one; None if it is a day from the time here: one is wrong. Raises OSError."""
    with create(probe, at=at) as file:
        try:
            now = os.fstat(file.fileno()).st_mtime
        finally:
            remove(probe, at=at)
    return now if abs(time.time() - now) < DAY else None


def remove_abandoned(folder: Path | int, own: str, newest: float, start: float = 0.0) -> Iterator[int]:
    """Remove packs that nobody has touched since `newest`, but none of this owner. Yields how many it removed in each step.

    `folder` is its path or its descriptor. In one with more than it looks at in one go, `start`, from 0 to 1, is where it begins.
    Raises OSError.
    """
    if isinstance(folder, Path):
        with opened(folder) as at:
            yield from remove_abandoned(at, own, newest, start)
        return
    names = [name for name in os.listdir(folder) if _is_pack_of_another(name, own)]
    first, left = int(start * len(names)), MOST_REMOVED
    turn = [*names[first:], *names[:first]][:MOST_LOOKED_AT]
    for place in range(0, len(turn), STEP):
        removed = _remove(folder, turn[place : place + STEP], newest, left)
        left -= removed
        yield removed
        if not left:
            return


def remove_drafts(at: int, owner: str, newest: float | None) -> int:
    """Remove what a crash left half written: of this owner all, of others what is older than `newest`; without it none. How many.

    Raises OSError.
    """
    removed = 0
    for name in os.listdir(at):
        if (whose := owner_of_draft(name)) is None or (whose != owner and newest is None):
            continue
        removed += _remove(at, [name], None if whose == owner else newest, MOST_REMOVED - removed)
    return removed


def _remove(at: int, names: Sequence[str], newest: float | None, most: int) -> int:
    removed, above = 0, os.fstat(at)
    for name in names:
        with suppress(OSError):  # somebody else was faster, or the folder lets only its owner do so
            found = look(name, at=at) if removed < most else None
            if found and may_remove(found, above) and (newest is None or found.st_mtime < newest):
                os.unlink(name, dir_fd=at)
                removed += 1
    return removed


def _is_pack_of_another(name: str, own: str) -> bool:
    found = parts(name)
    return found is not None and found[1] != own
