"""What SQLite would do with the journal that lies beside a history: it plays one back before it lets anybody read or write.

A journal of one database only says how its pages were. One of a transaction over several ends in the name of a further file, and once it
is played back, SQLite deletes that file, wherever it lies. No transaction of ours is over several, so no journal of ours ends like that.

The other files beside a history say nothing but what stands in its pages: a log (`-wal`) is played back into them, and an index (`-shm`)
is emptied by whoever comes first.
"""

from __future__ import annotations

import os
import struct

from learnae.errors import ConfigError, Problem
from learnae.identity.home_folder import HomeFolder

SUFFIX = "-journal"
MAGIC = bytes.fromhex("d9d505f920a163d7")  # a journal starts with it, and ends with it where a further file is named
_HEAD = struct.Struct(">8s5I")  # magic, records, nonce, pages of the database, bytes of a sector, bytes of a page
_WIDEST_PAGE = 1 << 16


def check_journal(folder: HomeFolder, name: str, most_bytes: int) -> None:
    """Raises ConfigError where to play back the journal of the database `name` would delete a file, or make the database longer."""
    try:
        descriptor = folder.open(f"{name}{SUFFIX}")
    except FileNotFoundError:  # also of a transaction that has ended meanwhile
        return
    with os.fdopen(descriptor, "rb") as file:
        head = file.read(_HEAD.size)
        file.seek(max(0, os.fstat(descriptor).st_size - len(MAGIC)))
        tail = file.read(len(MAGIC))
    if tail == MAGIC and len(head) == _HEAD.size:
        raise _problem(folder, name, "names another file, which SQLite would delete")
    if len(head) == _HEAD.size and head.startswith(MAGIC):
        *_, pages, _sector, page_bytes = _HEAD.unpack(head)
        if pages * (page_bytes or _WIDEST_PAGE) > most_bytes:
            raise _problem(folder, name, "would make the history too large to be one")


def _problem(folder: HomeFolder, name: str, what: str) -> ConfigError:
    return ConfigError(
        Problem(
            "peer.home",
            f"the journal {folder.path / name}{SUFFIX} {what}: none of a peer does so",
            "trust nothing in this home; name another",
        )
    )
