"""A peer's home: a folder that is locked by the peer that uses it, and the one way to open anything in it.

A home may have come from somebody else, with links to other files, pipes that nobody fills, and files without an end. So it is opened
here and nowhere else: it must be the user's own and closed to the writing of others, and what lies in it is only ever a plain file.

The lock is `flock` on `home/lock`. It belongs to the open file, which trainer and node share: it lives while either process lives,
and no crash leaves it behind. The file names the processes that hold it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import stat
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from learnae import opening
from learnae.errors import ConfigError, Problem
from learnae.shared_folder import is_private
from learnae.texts import in_shell

ROOT = 0
_ENTER = stat.S_IXGRP | stat.S_IXOTH
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@attrs.frozen
class HomeFolder:
    """An open folder; `fd` is its descriptor. A name in it is a single word, without a separator: ValueError is raised for others."""

    path: Path
    fd: int
    owner: int
    entered: bool  # others may look into it: then the rights of a file count

    @property
    def is_own(self) -> bool:
        return self.owner == os.geteuid()

    def open(
        self, name: str, flags: int = os.O_RDONLY, *, max_bytes: int | None = None, links: int | None = 1, secret: bool = False
    ) -> int:
        """The descriptor of a file. Raises ConfigError for what is no plain file of the owner's, or not for this user, and OSError.

        A `secret` one is refused where others may so much as read it.
        """
        with self._naming(name):
            descriptor = opening.open_file(name, flags, at=self.fd, owners=self._owners, links=links, max_bytes=max_bytes)
        try:
            self._check_rights(name, os.fstat(descriptor), secret=secret)
        except ConfigError:
            os.close(descriptor)
            raise
        return descriptor

    def read(self, name: str, max_bytes: int, *, links: int | None = 1) -> bytes:
        """All of a file. Raises as `open`."""
        with os.fdopen(self.open(name, max_bytes=max_bytes, links=links), "rb") as file:
            return opening.read_some(file, max_bytes)

    def look(self, name: str) -> os.stat_result | None:
        """The state of a plain file, which is not opened; None where nothing lies there. Raises as `open` for anything else."""
        with self._naming(name):
            found = opening.look(name, at=self.fd)
            if found is not None:
                opening.check_plain(name, found, self._owners)
        if found is not None:
            self._check_rights(name, found)
        return found

    @property
    def _owners(self) -> frozenset[int]:
        return frozenset({self.owner, os.geteuid(), ROOT})

    def _check_rights(self, name: str, found: os.stat_result, *, secret: bool = False) -> None:
        path = self.path / name
        if secret and found.st_mode & _OTHERS:
            raise open_to_others(path, found)
        if self.entered and (writers := _written_by_others(found, f"/proc/self/fd/{self.fd}/{name}")):
            raise ConfigError(Problem(str(path), f"{writers} may write to it (mode {_mode(found)})", f"chmod go-w {in_shell(path)}"))

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """What is wrong with the file itself is told here; what is wrong with the disk, by whoever knows what it is needed for."""
        if not name or os.sep in name or name in (os.curdir, os.pardir):
            raise ValueError(f"no name of a file in a home: {name!r}")
        path = self.path / name
        try:
            yield
        except opening.UnfitError as error:
            raise unfit(path, error) from error
        except PermissionError as error:
            raise ConfigError(Problem(str(path), f"cannot be opened: {error.strerror}", "check whose it is, and its rights")) from error


@contextmanager
def open_home(path: Path, *, looking: bool = False) -> Iterator[HomeFolder]:
    """The folder of a home that is this user's own. Raises OSError, and ConfigError for one of others, or in which others may write.

    Whoever only is `looking` may do so where root has made it, and root everywhere.
    """
    with _opened(path) as descriptor:
        found = os.fstat(descriptor)
        allowed = {os.geteuid(), ROOT} if looking else {os.geteuid()}
        if found.st_uid not in allowed and not (looking and os.geteuid() == ROOT):
            raise _of_another(path, found.st_uid, "" if looking else _within(path, descriptor))
        if writers := _written_by_others(found, descriptor):
            message = f"{writers} may write to it (mode {_mode(found)}), and so into this peer"
            remedy = f"chmod -R go-w {in_shell(path)}" + ("" if looking else _within(path, descriptor))
            raise ConfigError(Problem(f"peer.home {path}", message, remedy))
        yield HomeFolder(path, descriptor, found.st_uid, bool(found.st_mode & _ENTER))


def unfit(path: Path, error: opening.UnfitError) -> ConfigError:
    """In words for the user of a home."""
    remedy = "what lies in a home is the peer's own: move it away, and put a copy of the file itself there if one is needed"
    if error.errno == errno.EMLINK:  # a backup made with hard links: what is in the file is right, and a peer needs its numbers
        copy = path.with_name(f"{path.name}.copy")
        commands = f"cp -p {in_shell(path)} {in_shell(copy)} && mv {in_shell(copy)} {in_shell(path)}"
        remedy = f"it may be a backup's: end the peer, then make it a file of its own by {commands}"
    return ConfigError(Problem(str(path), str(error.strerror), remedy))


def open_to_others(path: Path, found: os.stat_result) -> ConfigError:
    """Of a key."""
    return ConfigError(Problem(str(path), f"others on this machine may read this key (mode {_mode(found)})", f"chmod 600 {in_shell(path)}"))


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A link at its end is followed only where the user or root has made it: then it is a way to say where the home lies."""
    found = opening.look(path)
    if found is not None and stat.S_ISLNK(found.st_mode):
        if found.st_uid not in (os.geteuid(), ROOT):
            message = f"is a link that {_user(found.st_uid)} has made to another folder"
            raise ConfigError(Problem(f"peer.home {path}", message, "name that folder itself if you trust it"))
        path = path.resolve()
    with opening.folder(path) as descriptor:
        yield descriptor


def _written_by_others(found: os.stat_result, where: int | str) -> str:
    """Who else may, in words.

    With an access control list the bits of the group say what anybody named there may do at most, and `chmod go-w` takes it from all.
    """
    if found.st_mode & stat.S_IWOTH:
        return "all users of this machine"
    if not found.st_mode & stat.S_IWGRP:
        return ""
    if _has_access_list(where):
        return "whoever its access control list (getfacl) names"
    return "" if is_private(found.st_gid, found.st_uid) else "its group"


def _has_access_list(where: int | str) -> bool:
    if sys.platform != "linux":
        return False
    try:
        return bool(os.getxattr(where, "system.posix_acl_access", follow_symlinks=isinstance(where, int)))
    except OSError:  # none, or a file system that knows none
        return False


def _within(path: Path, descriptor: int) -> str:
    """What a folder that is shared is good for, such as the usual volume of Kubernetes; empty where this user may not write to it."""
    effective = os.access in os.supports_effective_ids
    allowed = os.access(os.curdir, os.W_OK | os.X_OK, dir_fd=descriptor, effective_ids=effective)
    return (
        f"; or name a new folder in it, such as {path / 'peer'}" if allowed and _written_by_others(os.fstat(descriptor), descriptor) else ""
    )


def _of_another(path: Path, owner: int, within: str) -> ConfigError:
    remedy = (
        f"be that user, by sudo -u or in a container by its number (docker run --user {owner}); "
        f"or, if you trust all that is in it, make it yours: chown -R {os.geteuid()} {in_shell(path)}" + within
    )
    return ConfigError(Problem(f"peer.home {path}", f"it belongs to {_user(owner)}, and this is {_user(os.geteuid())}", remedy))


def _user(number: int) -> str:
    try:
        return f"user {number} ({pwd.getpwuid(number).pw_name})"
    except KeyError:
        return f"user {number}"


def _mode(found: os.stat_result) -> str:
    return f"{stat.S_IMODE(found.st_mode):o}"


LOCK = "lock"
_RETRY_SECONDS = 0.05
_MOST_HOMES = 1000
_LOCK_BYTES = 4096


@attrs.define
class Home:
    """The folder of one peer, locked until `close`. Also a context manager."""

    path: Path
    lock_fd: int  # -1 once closed. Hand it to a child by `subprocess.Popen(..., pass_fds=[home.lock_fd])`

    @classmethod
    def inherit(cls, path: Path, fd: int) -> Home:
        """The same home in a child that was handed the descriptor. Raises ConfigError if that does not hold this home's lock."""
        try:
            with open_home(path) as folder:
                is_its_lock = _is_file_of(fd, folder)
            if not is_its_lock:
                raise _problem(path, "the descriptor that was handed over is not of its lock", "start the node through learnae.join()")
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _name(fd, {*holders(path), os.getpid()})
        except BlockingIOError:
            raise _in_use(path) from None
        except OSError as error:
            raise _unusable(path, error) from error
        os.set_inheritable(fd, False)
        return cls(path, fd)

    @property
    def key_path(self) -> Path:
        return self.path / "key"

    @property
    def history_path(self) -> Path:
        return self.path / "history.sqlite"

    def close(self) -> None:
        """Let go of the lock; another process that holds it keeps it."""
        if self.lock_fd >= 0:
            os.close(self.lock_fd)  # never LOCK_UN: that would unlock it for the other process too
            self.lock_fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def claim(path: Path, *, wait_seconds: float = 0) -> Home:
    """Make and lock this home, waiting `wait_seconds` for another peer to leave it. Raises ConfigError with the pid of who is in it."""
    _make_folder(path)
    deadline = time.monotonic() + wait_seconds
    while (home := _try_claim(path)) is None:
        if time.monotonic() >= deadline:
            raise _in_use(path)
        time.sleep(_RETRY_SECONDS)
    return home


def claim_free(parent: Path) -> Home:
    """Make and lock the first of `parent/peer-1`, `parent/peer-2`, ... that nobody uses. Raises ConfigError."""
    for number in range(1, _MOST_HOMES + 1):
        path = parent / f"peer-{number}"
        _make_folder(path)
        if home := _try_claim(path):
            return home
    raise _problem(parent, f"all of its {_MOST_HOMES} homes are in use", "end some peers, or name a home of its own for this one")


def holders(path: Path) -> tuple[int, ...]:
    """The living processes that the lock of this home names: who is in it, if it is locked."""
    try:
        with open_home(path, looking=True) as folder, os.fdopen(folder.open(LOCK), "rb") as file:
            whole_lines = file.read(_LOCK_BYTES).rpartition(b"\n")[0]
    except (OSError, ConfigError):
        return ()
    return tuple(int(pid) for pid in whole_lines.split() if pid.isdigit() and _alive(int(pid)))


def _try_claim(path: Path) -> Home | None:
    try:
        with open_home(path) as folder:
            return _lock(folder)
    except OSError as error:
        raise _unusable(path, error) from error


def _lock(folder: HomeFolder) -> Home | None:
    path, fd = folder.path, folder.open(LOCK, os.O_RDWR | os.O_CREAT)
    home = Home(path, fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_file_of(fd, folder):  # somebody has removed it meanwhile
            home.close()
            return _lock(folder)
        _name(fd, {os.getpid()})
    except BlockingIOError:
        home.close()
        return None
    except BaseException:  # a full disk, or a Ctrl-C: nobody would hold the home, and it would be locked
        home.close()
        raise
    return home


def _name(fd: int, pids: Collection[int]) -> None:
    """Who holds the lock. Only they: a node that dies and dies again must not let the file grow."""
    os.ftruncate(fd, 0)
    os.pwrite(fd, "".join(f"{pid}\n" for pid in sorted(pids)).encode(), 0)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(path, error) from error


def _is_file_of(fd: int, folder: HomeFolder) -> bool:
    found = opening.look(LOCK, at=folder.fd)
    return found is not None and os.path.samestat(os.fstat(fd), found)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid > 0


def _in_use(path: Path) -> ConfigError:
    pids = ", ".join(map(str, holders(path)))
    return _problem(path, f"another peer uses this home (process {pids or 'unknown'})", "end that one, or name another home")


def _unusable(path: Path, error: OSError) -> ConfigError:
    return _problem(path, f"this home cannot be used: {error.strerror}", "name a home in a folder of your own, on a disk with room")


def _problem(path: Path, message: str, remedy: str) -> ConfigError:
    return ConfigError(Problem(f"peer.home {path}", message, remedy))
