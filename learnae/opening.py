"""Opens files and folders where other users may write.

These functions follow no link, wait for no pipe, and truncate no file before they have looked at it. A caller with the descriptor of a
folder works in that very folder, even if its name is given to another one. Links in the path above are followed: whoever cannot
vouch for them opens that folder with `reach`.

`reach` opens a folder by its path. In the part that the user named it follows links that this user or root made: such a user may do all
of this anyway. It follows a link of another user only where nobody else can have put it: in a closed folder of the same owner, which no
other user has put where it is. In the names below that part it follows no link. It goes step by step, by descriptors, so it does not
matter if a name is exchanged meanwhile.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

NAMES = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFREG: "a file",
}
_CHUNK = 1 << 14
_CAREFULLY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class UnfitError(OSError):
    """Something else lies there than what the caller wants. `strerror` says what it is, `filename` says where."""


def open_folder(path: str | Path, *, at: int | None = None) -> int:
    """The descriptor of this folder, in the folder `at` if that is given. Raises UnfitError for a link or a file, OSError."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | _CAREFULLY, dir_fd=at)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP) and (found := look(path, at=at)) is not None and not stat.S_ISDIR(found.st_mode):
            raise _not(path, found, "a folder") from error
        raise


@contextmanager
def folder(path: str | Path, *, at: int | None = None) -> Iterator[int]:
    """`open_folder`, closed at the end."""
    descriptor = open_folder(path, at=at)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_file(
    name: str | Path,
    flags: int = os.O_RDONLY,
    *,
    at: int | None = None,
    mode: int = 0o600,
    owners: Container[int] | None = None,
    links: int | None = 1,
    max_bytes: int | None = None,
) -> int:
    """Open a plain file, and return its descriptor. `at` is the descriptor of its folder, if `name` is relative to one.

    `flags` and `mode` are those of os.open. The file must be a regular file, with at most `links` names (hard links), of one of these
    `owners`, and of `max_bytes` at most. None allows anything. With O_TRUNC the file is truncated only after these checks.
    Raises UnfitError, which is an OSError, for any other file, and OSError.
    """
    if (found := look(name, at=at)) is not None:  # to open a device may do something already
        check_plain(name, found, owners, links, max_bytes)
    try:
        descriptor = os.open(name, flags & ~os.O_TRUNC | _CAREFULLY, mode, dir_fd=at)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnfitError(errno.ELOOP, "is a symbolic link and not a file", str(name)) from error
        raise
    try:
        check_plain(name, os.fstat(descriptor), owners, links, max_bytes)
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_file(
    name: str | Path, max_bytes: int, *, at: int | None = None, owners: Container[int] | None = None, links: int | None = 1
) -> bytes:
    """Read a whole plain file of at most `max_bytes`. Raises as `open_file`, also if the file grows past `max_bytes` meanwhile."""
    descriptor = open_file(name, at=at, owners=owners, links=links, max_bytes=max_bytes)
    with os.fdopen(descriptor, "rb") as file:
        content = read_some(file, max_bytes + 1)
    if len(content) > max_bytes:
        raise _too_long(name, max_bytes)
    return content


def read_some(file: BinaryIO, most: int) -> bytes:
    """Read the rest of a file, at most so many bytes. (`file.read(most)` would reserve memory for `most` bytes first.) Raises OSError."""
    content = bytearray()
    while len(content) < most and (chunk := file.read(min(_CHUNK, most - len(content)))):
        content += chunk
    return bytes(content)


def replace_file(name: str, content: bytes, *, at: int, mode: int = 0o600, durable: bool = False) -> None:
    """Put this file into the folder `at`, whole or not at all. It follows no link. Raises OSError."""
    draft = f"{name}.new"
    with draft_in(at, draft, mode) as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(draft, name, src_dir_fd=at, dst_dir_fd=at)
    if durable:
        os.fsync(at)


def save_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write this file, whole or not at all, in the place of what lies there. When this returns, it is on the disk. Raises OSError.

    If `path` itself is a link, the link is replaced. The folder of `path` may be named by a link that `reach` follows.
    """
    place = reach(path.parent)
    try:
        replace_file(path.name, content, at=place, mode=mode, durable=True)
    finally:
        os.close(place)


def draft_in(folder: int, name: str, mode: int = 0o600) -> BinaryIO:
    """Make a new file in the place of what lies there. It follows no link. Raises OSError, also if a folder lies there."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    return os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CAREFULLY, mode, dir_fd=folder), "wb")


def look(name: str | Path, *, at: int | None = None) -> os.stat_result | None:
    """Look what lies there, without following a link. None if nothing does. Raises OSError."""
    try:
        return os.stat(name, dir_fd=at, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def check_plain(
    name: str | Path, found: os.stat_result, owners: Container[int] | None = None, links: int | None = 1, max_bytes: int | None = None
) -> None:
    """Check what `open_file` checks, without opening the file. Raises UnfitError."""
    if not stat.S_ISREG(found.st_mode):
        raise _not(name, found, "a file")
    if owners is not None and found.st_uid not in owners:
        raise UnfitError(errno.EINVAL, f"belongs to another user ({found.st_uid})", str(name))
    if links is not None and found.st_nlink > links:
        raise UnfitError(errno.EMLINK, f"is {found.st_nlink} files in one (hard links)", str(name))
    if max_bytes is not None and found.st_size > max_bytes:
        raise _too_long(name, max_bytes)


def _not(name: str | Path, found: os.stat_result, wanted: str) -> UnfitError:
    return UnfitError(errno.EINVAL, f"is {NAMES.get(stat.S_IFMT(found.st_mode), 'something else')} and not {wanted}", str(name))


def _too_long(name: str | Path, max_bytes: int) -> UnfitError:
    return UnfitError(errno.EFBIG, f"is longer than {max_bytes:,} bytes", str(name))


Make = Callable[[int, str, Path], None]
"""Makes a folder: in which, under which name, and what its whole path is, for errors."""

_MOST_LINKS = 40
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH  # with an access control list the bits of the group are what anybody in it may do at most
_PASS = getattr(os, "O_PATH", getattr(os, "O_SEARCH", os.O_RDONLY)) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def reach(named: Path, below: Sequence[str] = (), *, unnamed: bool = False, make: Make | None = None, parents: bool = False) -> int:
    """Open the folder `named`, or the one that the names `below` lead to from there. Returns its descriptor, which the caller closes.

    `make` makes the last folder if it is missing, and with `parents` also those above it. `unnamed` means that the path is a default,
    which the user did not choose. Then a folder on the way is refused if another user made it where others may write: it may be a trap.
    Raises UnfitError for such a folder, for a link that is not followed, and for something that is no folder; FileExistsError instead of
    the last if a folder had to be made there; OSError.
    """
    descriptor, _ = _go(named, below, unnamed=unnamed, make=make, parents=parents)
    return descriptor


def reach_file(named: Path) -> tuple[int, str]:
    """Find the file `named` as `reach` finds a folder, by links that it may be reached by, such as those in a volume of Kubernetes.

    Returns the descriptor of the folder in which the file itself lies, which the caller closes, and its name there. `open_file` opens it.
    It need not be there. Raises as `reach`.
    """
    return _go(named, (), to_file=True)


def _go(
    named: Path,
    below: Sequence[str],
    *,
    unnamed: bool = False,
    make: Make | None = None,
    parents: bool = False,
    to_file: bool = False,
) -> tuple[int, str]:
    """The descriptor of the folder to which it leads, or `to_file` that of the folder above, and the last name."""
    whole = named if named.is_absolute() else Path.cwd() / named
    names = [*((name, False) for name in reversed(below)), *((name, True) for name in reversed(whole.parts[1:]))]
    so_far, links = "", 0
    way = [os.open(os.sep, _PASS)]  # all folders that were passed: whether a link is followed depends on them
    try:
        while names:
            name, may_be_link = names.pop()
            place = f"{so_far}/{name}"
            if to_file and not names and not _is_link(name, way[-1]):
                return os.dup(way[-1]), name
            try:
                way.append(_step(way[-1], name, place, make if parents or not names else None))
            except _LinkError as link:
                links += 1
                if not may_be_link or links > _MOST_LINKS:
                    raise UnfitError(errno.ELOOP, "is a symbolic link, which is not followed here", place) from None
                target = _target(way, name, place, link.found)
                names.extend((part, True) for part in reversed(target.parts) if part != os.sep)
                if target.is_absolute():
                    way.append(os.open(os.sep, _PASS))  # before the others are closed: none is closed twice, whatever goes wrong
                    while len(way) > 1:
                        os.close(way.pop(0))
                    so_far = ""
                continue
            so_far = place
            if unnamed:
                _check_maker(way[-2], way[-1], place)
        with paths_in_errors(so_far or os.sep):
            return os.open(os.curdir, _READ, dir_fd=way[-1]), os.curdir
    finally:
        for passed in way:
            os.close(passed)


@contextmanager
def paths_in_errors(folder: str | Path) -> Iterator[None]:
    """An OSError raised inside gets the whole path as its `filename`, if it has only a name in this folder, or none."""
    try:
        yield
    except OSError as error:
        if error.filename is None or isinstance(error.filename, str):
            error.filename = str(Path(folder, error.filename or ""))
        raise


class _LinkError(Exception):
    """A link lies there."""

    def __init__(self, found: os.stat_result) -> None:
        self.found = found


def _step(at: int, name: str, place: str, make: Make | None) -> int:
    try:
        return os.open(name, _PASS, dir_fd=at)
    except FileNotFoundError:
        if make is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place) from None
        make(at, name, Path(place))
        return _step(at, name, place, None)
    except OSError as error:
        found = look(name, at=at) if error.errno in (errno.ENOTDIR, errno.ELOOP) else None
        if found is not None and stat.S_ISLNK(found.st_mode):
            raise _LinkError(found) from None
        if error.errno == errno.ENOTDIR and make is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), place) from error
        if error.errno == errno.ENOTDIR:
            raise UnfitError(errno.ENOTDIR, "is not a folder", place) from error
        error.filename = place
        raise


def _is_link(name: str, at: int) -> bool:
    found = look(name, at=at)
    return found is not None and stat.S_ISLNK(found.st_mode)


def _target(way: Sequence[int], name: str, place: str, found: os.stat_result) -> Path:
    """The target of a link that may be followed. Raises UnfitError for other links, and for a link that changed meanwhile."""
    if not _is_ours(found.st_uid) and not _only_the_owner_put_it(way, found.st_uid):
        cause = f"is a symbolic link that another user ({found.st_uid}) made, which is not followed; name the folder that it leads to"
        raise UnfitError(errno.ELOOP, cause, place)
    with paths_in_errors(Path(place).parent):
        target = os.readlink(name, dir_fd=way[-1])
    again = look(name, at=way[-1])
    if again is None or (again.st_dev, again.st_ino, again.st_ctime_ns) != (found.st_dev, found.st_ino, found.st_ctime_ns):
        raise UnfitError(errno.ESTALE, "was exchanged while it was looked at", place)
    return Path(target)


def _only_the_owner_put_it(way: Sequence[int], maker: int) -> bool:
    """Whether the maker of a link in the last of these folders owns it, nobody else may write to it, and nobody else has put it there.

    Such an owner is root of the machine in a container that knows no such user, or whose folder the user has named.
    """
    folders = [os.fstat(passed) for passed in way]
    put = any(above.st_mode & _OTHERS_WRITE and not _is_ours(folder.st_uid) for above, folder in itertools.pairwise(folders))
    return folders[-1].st_uid == maker and not folders[-1].st_mode & _OTHERS_WRITE and not put


def _is_ours(user: int) -> bool:
    return user in (os.geteuid(), 0)


def _check_maker(above: int, at: int, place: str) -> None:
    maker = os.fstat(at).st_uid
    if not _is_ours(maker) and os.fstat(above).st_mode & _OTHERS_WRITE:
        cause = f"was made by another user ({maker}) where others may write; name a folder of your own, or set XDG_STATE_HOME to one"
        raise UnfitError(errno.EINVAL, cause, place)
