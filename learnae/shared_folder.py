"""A folder that users of one machine share: what is made in it takes the rights of the folder above, whatever the umask of its maker.

A folder counts as shared if others than its owner may write to it, or if it hands its group on (setgid). Nothing ever gets more rights
than the folder above has. A folder in one that is not shared, or in one for everybody such as /tmp, has the rights that the umask leaves.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from learnae.durable import sync_folder

_SHARED = stat.S_ISGID | stat.S_IWGRP | stat.S_IWOTH
_PUBLIC = stat.S_ISVTX | stat.S_IWOTH
_READ = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_TEXT = b"learnae"


def make_folder(folder: Path, *, parents: bool = False) -> None:
    """This folder where it is missing, with `parents` those above it as well. Raises OSError."""
    if parents and not os.path.lexists(folder) and folder.parent != folder:
        make_folder(folder.parent, parents=True)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
        return
    above = folder.parent.stat()
    if above.st_mode & _SHARED and above.st_mode & _PUBLIC != _PUBLIC:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _take_over(descriptor, above, stat.S_IMODE(above.st_mode))
        finally:
            os.close(descriptor)


def create(path: Path) -> BinaryIO:
    """A new file, which can be read by whoever can read its folder. Raises OSError, also if it is there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        above = path.parent.stat()
        _take_over(descriptor, above, stat.S_IMODE(above.st_mode) & _READ | stat.S_IWUSR)
        return os.fdopen(descriptor, "wb")
    except BaseException:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        raise


def try_out(folder: Path) -> None:
    """Do with a file what peers do with theirs, and leave nothing behind. Raises OSError."""
    draft, final = (folder / f"new.{secrets.token_hex(16)}.check" for _ in range(2))
    try:
        with create(draft) as file:
            file.write(_TEXT)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(final)
        sync_folder(folder)
        if final.read_bytes() != _TEXT:
            raise OSError(errno.EIO, "what was written is not what is read", str(folder))
        final.unlink()
    finally:
        for path in (draft, final):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def in_words(error: OSError, folder: Path) -> str:
    """What cannot be used, why, and who can do what about it; `folder` where the error does not tell the path."""
    place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else folder
    if error.errno not in (errno.EACCES, errno.EPERM):
        return f"cannot use {place.parent if place.name.startswith('new.') else place}: {error.strerror or error}"
    closed = _closed(place)
    return f"cannot use {closed}: {error.strerror or error}; {_remedy(closed)}"


def _take_over(descriptor: int, above: os.stat_result, mode: int) -> None:
    """The group and these rights of the folder above; where the group cannot be had, another one gets no more than everybody has."""
    own = os.fstat(descriptor)
    if own.st_gid != above.st_gid:
        with suppress(OSError):
            os.fchown(descriptor, -1, above.st_gid)
        own = os.fstat(descriptor)
    if own.st_gid != above.st_gid:
        mode = mode & ~(stat.S_IRWXG | stat.S_ISGID) | (mode & stat.S_IRWXO) << 3
    if stat.S_IMODE(own.st_mode) != mode:
        with suppress(PermissionError):  # a file system without rights
            os.fchmod(descriptor, mode)


def _closed(place: Path) -> Path:
    """Of the path and the folders above it, the one that does not let this user in."""
    there = [path for path in (*reversed(place.parents), place) if os.path.lexists(path)] or [place]
    for folder in there[:-1]:
        if not _may(folder, os.X_OK):
            return folder
    last = there[-1]
    folder = last if last.is_dir() else last.parent
    return last if _may(folder, os.W_OK | os.X_OK) else folder


def _may(path: Path, rights: int) -> bool:
    return os.access(path, rights, effective_ids=os.access in os.supports_effective_ids)


def _remedy(closed: Path) -> str:
    try:
        found = closed.stat()
    except OSError:
        return "name another folder, or let this user in"
    rights = "rwx" if stat.S_ISDIR(found.st_mode) else "r"
    if found.st_uid == os.geteuid():
        return f"it is your own: chmod u+{rights} {closed}"
    member = found.st_gid in (os.getegid(), *os.getgroups())
    group = "" if member else f", once you are in its group {_group(found.st_gid)}"
    return f"it belongs to {_user(found.st_uid)}, who can let you in: chmod g+{rights}{'s' if rights == 'rwx' else ''} {closed}{group}"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
