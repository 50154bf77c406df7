"""Files and folders in which somebody else may have put things, opened without being led elsewhere or held up.

No link is followed, no pipe is waited for, nothing is cut before it was looked at. Whoever holds a folder's descriptor works in that very
folder, whatever becomes of its name. Above what is named here links are followed: where a folder lies is for its user to say.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Container, Iterator
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
    """Something else lies there than what was asked for. `strerror` says what, `filename` where."""


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
    """The descriptor of a plain file, in the folder `at` if that is given; `flags` and `mode` as for os.open.

    Raises UnfitError for all but a regular file with that many names (hard links) that belongs to one of `owners` and is no longer than
    `max_bytes`; None allows anything. Raises OSError. With O_TRUNC the file is cut only when all of that was seen.
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
    """All of a plain file. Raises as `open_file`, also for one that grows past `max_bytes` while it is read."""
    descriptor = open_file(name, at=at, owners=owners, links=links, max_bytes=max_bytes)
    with os.fdopen(descriptor, "rb") as file:
        content = read_some(file, max_bytes + 1)
    if len(content) > max_bytes:
        raise _too_long(name, max_bytes)
    return content


def read_some(file: BinaryIO, most: int) -> bytes:
    """What is left of a file, and at most so many bytes. `read` itself takes memory for all of them before it looks. Raises OSError."""
    content = bytearray()
    while len(content) < most and (chunk := file.read(min(_CHUNK, most - len(content)))):
        content += chunk
    return bytes(content)


def replace_file(name: str, content: bytes, *, at: int, mode: int = 0o600, durable: bool = False) -> None:
    """Put this file into the folder `at`, whole or not at all; no link is followed. Raises OSError."""
    draft = f"{name}.new"
    with draft_in(at, draft, mode) as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(draft, name, src_dir_fd=at, dst_dir_fd=at)
    if durable:
        os.fsync(at)


def draft_in(folder: int, name: str, mode: int = 0o600) -> BinaryIO:
    """A new file in the place of whatever stood there, which is not followed. Raises OSError, also where that is a folder."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    return os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CAREFULLY, mode, dir_fd=folder), "wb")


def look(name: str | Path, *, at: int | None = None) -> os.stat_result | None:
    """What lies there, a link as such; None where nothing does. Raises OSError."""
    try:
        return os.stat(name, dir_fd=at, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def check_plain(
    name: str | Path, found: os.stat_result, owners: Container[int] | None = None, links: int | None = 1, max_bytes: int | None = None
) -> None:
    """What `open_file` looks at, of a file that is not opened. Raises UnfitError."""
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
