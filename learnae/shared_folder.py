"""A folder that users of one machine share: what is made in it takes the rights of the folder above, whatever the umask of its maker.

A folder counts as shared if others than its owner may write to it, or if it hands its group on (setgid). The private group that many
systems give each user counts as that user. Nothing ever gets more rights than the folder above has. In a folder that is not shared, or
that is for everybody such as /tmp, the umask decides.
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

_PUBLIC = stat.S_ISVTX | stat.S_IWOTH
_READ = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_TEXT = b"learnae"
_DRAFTS = ("new.", ".new.")  # names of what is not finished yet


def make_folder(folder: Path, *, parents: bool = False) -> None:
    """This folder where it is missing, with `parents` those above it as well. Raises OSError."""
    if parents and not os.path.lexists(folder) and folder.parent != folder:
        make_folder(folder.parent, parents=True)
    try:
        if os.path.lexists(folder) or not _is_shared(folder.parent.stat()):
            folder.mkdir()
        else:
            _make_with_rights(folder)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise


def create(path: Path) -> BinaryIO:
    """A new file; in a shared folder it can be read by whoever can read that. Raises OSError, also if it is there."""
    above = path.parent.stat()
    mode, shared = stat.S_IMODE(above.st_mode) & _READ | stat.S_IWUSR, _is_shared(above)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if shared else mode)
    try:
        if shared:
            _take_over(descriptor, above, mode)
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


def in_words(error: OSError, folder: Path, *, shared: bool = True) -> str:
    """What cannot be used, why, and who can do what about it; `folder` where the error does not tell the path.

    Nobody is told to open a folder that is not for sharing, such as a home, to others.
    """
    place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else folder
    if error.errno not in (errno.EACCES, errno.EPERM):
        return f"cannot use {place.parent if place.name.startswith(_DRAFTS) else place}: {error.strerror or error}"
    closed = _closed(place)
    passage = closed in folder.parents and not _may(closed, os.X_OK)
    return f"cannot use {closed}: {error.strerror or error}; {_remedy(closed, passage=passage, shared=shared)}"


def is_private(group: int, user: int) -> bool:
    """Whether it is the group of this user alone, named alike; where neither has a name, of the same number."""
    try:
        found = grp.getgrgid(group)
    except KeyError:
        return group == user
    return found.gr_name == _user(user) and not set(found.gr_mem) - {found.gr_name}


def _is_shared(folder: os.stat_result) -> bool:
    """Whether others than the owner may write to it, or want its group to be handed on; one for everybody is nobody's to share."""
    mode = folder.st_mode
    if mode & _PUBLIC == _PUBLIC:
        return False
    return bool(mode & (stat.S_ISGID | stat.S_IWOTH)) or (bool(mode & stat.S_IWGRP) and not is_private(folder.st_gid, folder.st_uid))


def _make_with_rights(folder: Path) -> None:
    """It is there with all its rights or not at all: one half made would keep the others out for ever."""
    draft = folder.with_name(f".new.{secrets.token_hex(8)}")
    draft.mkdir(0o700)
    try:
        descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            above = folder.parent.stat()
            _take_over(descriptor, above, stat.S_IMODE(above.st_mode))
        finally:
            os.close(descriptor)
        if not os.path.lexists(folder):
            draft.rename(folder)
    except OSError:
        if not os.path.isdir(folder):  # else another was faster
            raise
    finally:
        with suppress(OSError):
            draft.rmdir()


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
        with suppress(OSError):  # a file system without rights, or one that refuses them in its own way
            os.fchmod(descriptor, mode)


def _closed(place: Path) -> Path:
    """Of the path and the folders above it, the one that does not let this user in."""
    there = [path for path in (*reversed(place.parents), place) if os.path.lexists(path)] or [place]
    for folder in there[:-1]:
        if not _may(folder, os.X_OK):
            return folder
    last = there[-1]
    folder = last if os.path.isdir(last) else last.parent
    return last if _may(folder, os.W_OK | os.X_OK) else folder


def _may(path: Path, rights: int) -> bool:
    return os.access(path, rights, effective_ids=os.access in os.supports_effective_ids)


def _remedy(closed: Path, *, passage: bool, shared: bool) -> str:
    try:
        found = closed.stat()
    except OSError:
        return "name another folder, or let this user in"
    rights = "r" if not stat.S_ISDIR(found.st_mode) else "x" if passage else "rwx"
    if found.st_uid == os.geteuid():
        return f"it is your own: chmod u+{rights} {closed}"
    if not shared:
        return f"it belongs to {_user(found.st_uid)}, and what is in it is not shared"
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
