"""The way to a folder: who may lead it elsewhere?

A path that somebody named goes through links that this user or root made, since their maker may do all of that anyway. A link of another
user is refused. Of the names below what was named no link is followed, whoever made it. The way is gone step by step, by descriptors: a
name that is exchanged meanwhile leads nobody astray.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from learnae.opening import UnfitError, look

T = TypeVar("T")

Make = Callable[[int, str, Path], None]
"""Makes a folder: in which, under which name, and what its whole path is, for errors."""

_MOST_LINKS = 40
_PASS = getattr(os, "O_PATH", getattr(os, "O_SEARCH", os.O_RDONLY)) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def reach(named: Path, below: Sequence[str] = (), *, apart: bool = False, make: Make | None = None, parents: bool = False) -> int:
    """The descriptor of the folder `named`, or of that which lies `below` it, name by name; its caller closes it.

    `make` makes the last folder where it is missing, with `parents` those above as well. One that is `apart` was named by nobody: a folder
    on the way that another user made where everybody may write is refused, since it may be there to be found. Raises UnfitError for that,
    for links that are not followed, and for what is no folder; FileExistsError for that where a folder is to be made; OSError.
    """
    names = [*((name, False) for name in reversed(below)), *((name, True) for name in reversed((Path.cwd() / named).parts[1:]))]
    at, so_far, links = os.open(os.sep, _PASS), Path(os.sep), 0
    try:
        while names:
            name, may_be_link = names.pop()
            place = so_far / name
            try:
                step = _step(at, name, place, make if parents or not names else None)
            except _LinkError as link:
                links += 1
                target = _target(at, name, place, link.found) if may_be_link and links <= _MOST_LINKS else None
                if target is None:
                    raise UnfitError(errno.ELOOP, "is a symbolic link, which is not followed here", str(place)) from None
                names.extend((part, True) for part in reversed(target.parts) if part != os.sep)
                if target.is_absolute():
                    os.close(at)
                    at, so_far = os.open(os.sep, _PASS), Path(os.sep)
                continue
            above, at, so_far = at, step, place
            try:
                if apart:
                    _check_maker(above, at, place)
            finally:
                os.close(above)
        return _named(lambda: os.open(os.curdir, _READ, dir_fd=at), so_far)
    finally:
        os.close(at)


class _LinkError(Exception):
    """A link lies there."""

    def __init__(self, found: os.stat_result) -> None:
        self.found = found


def _step(at: int, name: str, place: Path, make: Make | None) -> int:
    try:
        return os.open(name, _PASS, dir_fd=at)
    except FileNotFoundError:
        if make is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place)) from None
        make(at, name, place)
        return _step(at, name, place, None)
    except OSError as error:
        found = look(name, at=at) if error.errno in (errno.ENOTDIR, errno.ELOOP) else None
        if found is not None and stat.S_ISLNK(found.st_mode):
            raise _LinkError(found) from None
        if error.errno == errno.ENOTDIR and make is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place)) from error
        if error.errno == errno.ENOTDIR:
            raise UnfitError(errno.ENOTDIR, "is not a folder", str(place)) from error
        error.filename = str(place)
        raise


def _target(at: int, name: str, place: Path, found: os.stat_result) -> Path:
    """Where a link leads that this user or root made, and that has stayed the same while it was read."""
    if found.st_uid not in (os.geteuid(), 0):
        cause = f"is a symbolic link that another user ({found.st_uid}) made, which is not followed; name the folder that it leads to"
        raise UnfitError(errno.ELOOP, cause, str(place))
    target = _named(lambda: os.readlink(name, dir_fd=at), place)
    again = look(name, at=at)
    if again is None or (again.st_dev, again.st_ino, again.st_ctime_ns) != (found.st_dev, found.st_ino, found.st_ctime_ns):
        raise UnfitError(errno.ESTALE, "was exchanged while it was looked at", str(place))
    return Path(target)


def _check_maker(above: int, at: int, place: Path) -> None:
    maker = os.fstat(at).st_uid
    if maker not in (os.geteuid(), 0) and os.fstat(above).st_mode & stat.S_IWOTH:
        raise UnfitError(errno.EINVAL, f"was made by another user ({maker}) where everybody may write", str(place))


def _named(function: Callable[[], T], place: Path) -> T:
    try:
        return function()
    except OSError as error:
        error.filename = str(place)
        raise
