"""Packs of peers that are gone for good: in a folder that many share, somebody has to clear them away.

A peer touches its own packs once a day while it runs, so the age of a file tells for how long its peer has been away.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from learnae.plugins.storage.packs import is_cid

DAY = 86_400.0
MOST_LOOKED_AT, MOST_REMOVED = 20_000, 1_000  # in one go

_OWNER = re.compile("[0-9a-f]{64}")


def touch(files: Iterable[Path]) -> None:
    """Show that their peer is alive."""
    for file in files:
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > DAY:
                os.utime(file)


def remove_abandoned(folder: Path, own: str, days: float) -> int:
    """Remove packs that nobody has touched for so many days, but none of this owner. Returns their number; raises OSError."""
    looked_at = removed = 0
    newest = time.time() - days * DAY
    with os.scandir(folder) as entries:
        for entry in entries:
            looked_at += 1
            if _is_old_pack(entry, own, newest):
                with suppress(OSError):  # somebody else was faster, or the folder lets only its owner do so
                    os.unlink(entry.path)
                    removed += 1
            if looked_at >= MOST_LOOKED_AT or removed >= MOST_REMOVED:
                break
    return removed


def _is_old_pack(entry: os.DirEntry[str], own: str, newest: float) -> bool:
    """A plain file with a name just as a peer's storage gives it: what else lies in the folder is nobody's business here."""
    root, _, owner = entry.name.partition(".")
    if not is_cid(root) or not _OWNER.fullmatch(owner) or owner == own:
        return False
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_mtime < newest
