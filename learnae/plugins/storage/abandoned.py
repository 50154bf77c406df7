"""Packs of peers that are gone for good: in a folder that many share, somebody has to clear them away.

A peer touches its own packs once a day while it runs, so the age of a file tells for how long its peer has been away. Ages are differences
between times of files, which all come from the machine that keeps them: the clock of a peer alone removes nothing.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from learnae.plugins.storage.packs import is_cid
from learnae.shared_folder import create

DAY = 86_400.0
MOST_LOOKED_AT, MOST_REMOVED = 20_000, 1_000  # in one go
STEP = 500  # looked at in one call in a thread

_OWNER = re.compile("[0-9a-f]{64}")


def touch(files: Iterable[Path]) -> None:
    """Show that their peer is alive. A time far ahead is one of a clock that has been wrong since, here or there."""
    for file in files:
        with suppress(OSError):
            if abs(time.time() - file.stat().st_mtime) > DAY:
                os.utime(file)


def now_by(probe: Path) -> float | None:
    """What the time is where the files are kept, by a new one; None if it is a day from the time here: one is wrong. Raises OSError."""
    with create(probe) as file:
        try:
            now = os.fstat(file.fileno()).st_mtime
        finally:
            probe.unlink(missing_ok=True)
    return now if abs(time.time() - now) < DAY else None


def age(file: Path, now: float) -> float:
    """In seconds; 0 for what is gone."""
    try:
        return now - file.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return 0.0


def remove_abandoned(folder: Path, own: str, newest: float, start: float = 0.0) -> Iterator[int]:
    """Remove packs that nobody has touched since `newest`, but none of this owner. Yields how many it removed in each step.

    In a folder with more than it looks at in one go, `start`, from 0 to 1, is where it begins. Raises OSError.
    """
    names = [name for name in os.listdir(folder) if _is_pack_of_another(name, own)]
    first, left = int(start * len(names)), MOST_REMOVED
    turn = [*names[first:], *names[:first]][:MOST_LOOKED_AT]
    for place in range(0, len(turn), STEP):
        removed = _remove(folder, turn[place : place + STEP], newest, left)
        left -= removed
        yield removed
        if not left:
            return


def _remove(folder: Path, names: Sequence[str], newest: float, most: int) -> int:
    removed = 0
    for name in names:
        if removed < most and _is_old(folder / name, newest):
            with suppress(OSError):  # somebody else was faster, or the folder lets only its owner do so
                os.unlink(folder / name)
                removed += 1
    return removed


def _is_pack_of_another(name: str, own: str) -> bool:
    """Named just as a peer's storage names it: what else lies in the folder is nobody's business here."""
    root, _, owner = name.partition(".")
    return is_cid(root) and _OWNER.fullmatch(owner) is not None and owner != own


def _is_old(file: Path, newest: float) -> bool:
    try:
        status = file.stat(follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_mtime < newest
