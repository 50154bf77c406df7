"""The folder of a peer's home: the one way to open anything in it.

A home may have come from somebody else, with links to other files, pipes that nobody fills, and files without an end. So it is opened
here and nowhere else: it must be the user's own and closed to the writing of others, and what lies in it is only ever a plain file.
"""

from __future__ import annotations

import errno
import itertools
import os
import pwd
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from learnae import opening
from learnae.errors import ConfigError, Problem
from learnae.shared_folder import is_private
from learnae.texts import in_shell

ROOT = 0
PLUGINS = "plugins"
_MOST_ENTRIES = 1000
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

    @contextmanager
    def subfolder(self, name: str, *, make: bool = False) -> Iterator[HomeFolder]:
        """A folder in it, which `make` makes where it is missing, for this user alone. Raises ConfigError for one of others, or in which
        they may write, and OSError.

        What lies in it is looked at as if the home were open to others: it may have been, or may be later.
        """
        with self._naming(name):
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=self.fd)
            descriptor = opening.open_folder(name, at=self.fd)
        try:
            self._check_folder(name, os.fstat(descriptor), descriptor)
            yield HomeFolder(self.path / name, descriptor, self.owner, entered=True)
        finally:
            os.close(descriptor)

    def check_subfolders(self) -> None:
        """All folders in it, and those of plugins where others may look into what holds them. Raises ConfigError as `subfolder`."""
        for name in self._subfolders():
            with suppress(FileNotFoundError), self.subfolder(name) as folder:
                if name == PLUGINS and os.fstat(folder.fd).st_mode & _ENTER:
                    for inner in folder._subfolders():
                        with suppress(FileNotFoundError), folder.subfolder(inner):
                            pass

    def _subfolders(self) -> list[str]:
        with os.scandir(self.fd) as entries:
            found = list(itertools.islice(entries, _MOST_ENTRIES + 1))
        if len(found) > _MOST_ENTRIES:
            raise ConfigError(Problem(str(self.path), f"holds more than {_MOST_ENTRIES:,} files", "move away what is none of a peer's"))
        return [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]

    def _check_folder(self, name: str, found: os.stat_result, descriptor: int) -> None:
        path = self.path / name
        if found.st_uid not in self._owners:
            raise _of_another(path, found.st_uid, "")
        if writers := _written_by_others(found, descriptor):
            message = f"{writers} may write to it (mode {_mode(found)}), and so into this peer"
            raise ConfigError(Problem(str(path), message, f"chmod -R go-w {in_shell(path)}"))

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
        folder = HomeFolder(path, descriptor, found.st_uid, bool(found.st_mode & _ENTER))
        folder.check_subfolders()
        yield folder


def check_own_folder(path: Path, descriptor: int) -> None:
    """Raises ConfigError for a folder of another user than root, or in which others may write; `path` is what it is called."""
    found = os.fstat(descriptor)
    if found.st_uid not in (os.geteuid(), ROOT):
        message, remedy = f"it belongs to {_user(found.st_uid)}, who may change what lies in it", "take another name"
        raise ConfigError(Problem(str(path), message, remedy))
    if writers := _written_by_others(found, descriptor):
        raise ConfigError(Problem(str(path), f"{writers} may write to it (mode {_mode(found)})", f"chmod go-w {in_shell(path)}"))


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
    """A link at its end is followed only where the user or root has made it: then it is a way to say where the home lies.

    Those above it are followed as `learnae.opening.reach` does.
    """
    found = opening.look(path)
    if found is not None and stat.S_ISLNK(found.st_mode) and found.st_uid not in (os.geteuid(), ROOT):
        message = f"is a link that {_user(found.st_uid)} has made to another folder"
        raise ConfigError(Problem(f"peer.home {path}", message, "name that folder itself if you trust it"))
    try:
        descriptor = opening.reach(path)
    except opening.UnfitError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ConfigError(Problem(f"peer.home {path}", f"{error.filename} {error.strerror}", "or take another home")) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


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
