"""Where a daemon of one's own listens for its RPC: at a Unix socket in a folder that is closed to all other users of the machine.

A port of loopback is open to all of them. Kubo's own passwords (`API.Authorizations`) guard the calls, and leave its profiler, its metrics
and the web page beside them open; and they would keep `ipfs` at the command line out as well.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from pathlib import Path

MOST_BYTES = 100  # of a socket's path; Linux takes 107, macOS 103
NAME = "rpc"
_PREFIX = "learnae-ipfs-"
_PLAIN = re.compile(r"(?:/[\w.+@-]+)+", re.ASCII)


def path_of(address: object) -> Path | None:
    """The path in the address of a Unix socket; None where it is none."""
    return Path(address.removeprefix("/unix")) if isinstance(address, str) and address.startswith("/unix/") else None


def socket_for(repo: Path, before: Path | None) -> Path:
    """In the repo, which has to be closed to others; where its path is too long for a socket, in a short folder that is as closed.

    That of last time is used again if a daemon that was killed has left it. Raises OSError.
    """
    inside = repo.absolute() / NAME
    if _fits(inside):
        return inside
    if (
        before is not None
        and before.name == NAME
        and before.parent.name.startswith(_PREFIX)
        and _fits(before)
        and _is_closed(before.parent)
    ):
        return before
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_short())) / NAME


def clear(path: Path) -> None:
    """Of a daemon that has ended. Raises OSError while it has not."""
    if _is_short(path):
        path.parent.rmdir()


def close_to_others(folder: Path) -> None:
    """Raises OSError, also where it is another user's."""
    found = folder.stat()  # the user may have moved it, and left a link
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is no folder of this user")
    if found.st_mode & 0o077:
        folder.chmod(0o700)


def _is_short(path: Path) -> bool:
    """Whether it is one that `socket_for` made."""
    return path.name == NAME and path.parent.name.startswith(_PREFIX)


def _fits(path: Path) -> bool:
    """Whether a socket may be there, and Kubo's way to write addresses can say so."""
    return len(os.fsencode(path)) <= MOST_BYTES and _PLAIN.fullmatch(str(path)) is not None


def _is_closed(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _short() -> str:
    usual = tempfile.gettempdir()
    return usual if _fits(Path(usual) / f"{_PREFIX}12345678" / NAME) else "/tmp"
