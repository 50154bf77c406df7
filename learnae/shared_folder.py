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
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

import attrs

from learnae.opening import look, open_folder, paths_in_errors, reach
from learnae.texts import in_shell

T = TypeVar("T")

_PUBLIC = stat.S_ISVTX | stat.S_IWOTH
_READ = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_DRAFTS = ("new.", ".new.")  # names of what is not finished yet
_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EBUSY, errno.EPERM, errno.EACCES)


@attrs.frozen
class FolderHandle:
    """A folder, reached anew for each use, since it may go and come back.

    `named` is what its user calls it. Of the names `below` none may be a link: anybody who may write to the folder could have made it.
    An `unnamed` one is a default that the user did not choose: it is not used where another user has prepared it (`learnae.opening`).
    """

    named: Path
    below: tuple[str, ...] = ()
    unnamed: bool = False

    @property
    def path(self) -> Path:
        return self.named.joinpath(*self.below)

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Its descriptor. Raises OSError; what goes wrong inside with a name alone gets the whole path."""
        descriptor = reach(self.named, self.below, unnamed=self.unnamed)
        try:
            with paths_in_errors(self.path):
                yield descriptor
        finally:
            os.close(descriptor)

    def make(self, *, parents: bool = False) -> None:
        """Make it where it is missing, with `parents` those above it as well; an unnamed one is this user's alone. Raises OSError."""
        if parents and self.unnamed:
            os.close(reach(self.named, unnamed=True, make=make_closed, parents=True))
        make = make_closed if self.unnamed else make_in
        os.close(reach(self.named, self.below, unnamed=self.unnamed, make=make, parents=parents))


def make_closed(above: int, name: str, place: Path) -> None:
    """As `learnae.opening.Make`; it is closed to all others, whatever the umask."""
    make_plainly(above, name, place, 0o700)


def make_plainly(above: int, name: str, place: Path, mode: int = 0o777) -> None:
    """As `learnae.opening.Make`, by the umask."""
    try:
        os.mkdir(name, mode, dir_fd=above)
    except OSError as error:
        if not _is_folder(name, above):  # else another was faster
            error.filename = str(place)
            raise


def make_in(above: int, name: str, place: Path) -> None:
    """As `learnae.opening.Make`; it takes the rights of a shared folder above."""
    if not _is_shared(os.fstat(above)):
        make_plainly(above, name, place)
        return
    with paths_in_errors(place.parent):
        _make_with_rights(above, name)


def create(path: str | Path, *, at: int | None = None) -> BinaryIO:
    """A new file, in the folder `at` if that is given; in a shared folder it can be read by whoever can read that.

    Raises OSError, also if it is there.
    """
    above = os.stat(Path(path).parent) if at is None else os.fstat(at)
    mode, shared = stat.S_IMODE(above.st_mode) & _READ | stat.S_IWUSR, _is_shared(above)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if shared else mode, dir_fd=at)
    try:
        if shared:
            _take_over(descriptor, above, mode)
        return os.fdopen(descriptor, "wb")
    except BaseException:
        os.close(descriptor)
        remove(path, at=at)
        raise


def give_name(draft: str | Path, name: str | Path, other: str, *, at: int | None = None) -> str | Path:
    """Give a finished file its name, in one step; `other` where a stranger has put there what cannot be replaced, such as a folder.

    Returns the name that it has got. Raises OSError.
    """
    try:
        os.replace(draft, name, src_dir_fd=at, dst_dir_fd=at)
    except OSError as error:
        if error.errno not in _IN_THE_WAY or look(name, at=at) is None:
            raise
        os.replace(draft, other, src_dir_fd=at, dst_dir_fd=at)
        return other
    return name


def remove(name: str | Path, *, at: int | None = None) -> None:
    """Nothing happens where it is not there. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=at)


def may_remove(found: os.stat_result, above: os.stat_result) -> bool:
    """Whether this is a plain file that the rights of the folder above let this user remove; root is bound by the sticky bit as well."""
    user = os.geteuid()
    ours = found.st_uid == user or not above.st_mode & stat.S_ISVTX or above.st_uid == user != 0
    return stat.S_ISREG(found.st_mode) and ours


def in_turns(files: Sequence[T], user: Callable[[T], int]) -> Iterator[T]:
    """Those of all users, one of each in each turn, in the order given: many of one user do not keep the others waiting."""
    queues: dict[int, deque[T]] = {}
    for file in files:
        queues.setdefault(user(file), deque()).append(file)
    while queues:
        for number, queue in list(queues.items()):
            yield queue.popleft()
            if not queue:
                del queues[number]


def in_words(error: OSError, folder: Path, *, shared: bool = True) -> str:
    """What cannot be used, why, and who can do what about it; `folder` where the error does not tell the path.

    Nobody is told to open a folder that is not for sharing, such as a home, to others.
    """
    place = folder / os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else folder
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


def _make_with_rights(above: int, name: str) -> None:
    """It is there with all its rights or not at all: one half made would keep the others out for ever."""
    draft = f".new.{secrets.token_hex(8)}"
    os.mkdir(draft, 0o700, dir_fd=above)
    try:
        descriptor = open_folder(draft, at=above)
        try:
            found = os.fstat(above)
            _take_over(descriptor, found, stat.S_IMODE(found.st_mode))
        finally:
            os.close(descriptor)
        if look(name, at=above) is None:
            os.rename(draft, name, src_dir_fd=above, dst_dir_fd=above)
    except OSError:
        if not _is_folder(name, above):  # else another was faster
            raise
    finally:
        with suppress(OSError):
            os.rmdir(draft, dir_fd=above)


def _is_folder(name: str, above: int) -> bool:
    found = look(name, at=above)
    return found is not None and stat.S_ISDIR(found.st_mode)


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
        return f"it is your own: chmod u+{rights} {in_shell(closed)}"
    if not shared:
        return f"it belongs to {_user(found.st_uid)}, and what is in it is not shared"
    if is_private(found.st_gid, found.st_uid):
        return f"it belongs to {_user(found.st_uid)} alone: name a folder that both may write to, such as one of a group (chmod g+rwxs)"
    member = found.st_gid in (os.getegid(), *os.getgroups())
    group = "" if member else f", once you are in its group {_group(found.st_gid)}"
    rights = f"{rights}s" if rights == "rwx" else rights
    return f"it belongs to {_user(found.st_uid)}, who can let you in: chmod g+{rights} {in_shell(closed)}" + group


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
