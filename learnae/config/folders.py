"""Default folders, and a trial whether a folder can be used. The trial leaves nothing behind."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from contextlib import suppress
from itertools import islice
from pathlib import Path

from learnae.config.words import show
from learnae.errors import ConfigError, Problem
from learnae.identity.swarms import SwarmIdentity
from learnae.opening import folder as opened
from learnae.opening import look, paths_in_errors, reach, read_file
from learnae.shared_folder import FolderHandle, create, in_words, make_in, may_remove, remove


def state_folder() -> Path:
    """`$XDG_STATE_HOME/learnae`; a variable that is not an absolute path counts as not set, as its standard says. Raises ConfigError."""
    named = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(named):
        return Path(named) / "learnae"
    try:
        return Path.home() / ".local" / "state" / "learnae"
    except RuntimeError as error:
        raise ConfigError(
            Problem("XDG_STATE_HOME", "is not set, and this user has no home folder", "set it to a folder to write to")
        ) from error


def meeting_folder() -> Path:
    """Where the peers of this machine meet without a network."""
    return state_folder() / "meeting"


def meeting_place(swarm: SwarmIdentity) -> Path:
    """Where those of one swarm meet. That of a private swarm tells its name to nobody."""
    return meeting_folder() / (folder_name(swarm.name) if swarm.key is None else swarm.channel)


def default_home(swarm: str) -> Path:
    """The folder in which the homes of this swarm's peers lie."""
    return state_folder() / "homes" / folder_name(swarm)


def folder_name(swarm: str) -> str:
    """A name for a folder, on any file system; different swarms get different ones, also where upper and lower case are one."""
    if re.fullmatch("[a-z0-9][a-z0-9_-]{0,63}", swarm):
        return swarm
    readable = re.sub("[^a-z0-9_-]+", "-", swarm.lower()).strip("-")[:40]
    return f"{readable}+{hashlib.sha256(swarm.encode(errors='surrogatepass')).hexdigest()[:12]}"


def expanded(text: str, key: str) -> Path:
    """The path, with `~` as the home folder; `$VARIABLES` are for the shell. Raises ConfigError, at `key`, where there is no such home."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(Problem(key, f"has no home folder to begin with: {show(text)}", "write the whole path")) from error


def existing(folder: Path) -> Path:
    """The folder, or that of its parents which is there already."""
    return next(place for place in (folder, *folder.parents) if os.path.lexists(place))


_TEXT = b"learnae"
_TRIAL = re.compile(r"new\.[0-9a-f]{32}\.check")
LEFT_SECONDS = 3600.0  # a trial takes some milliseconds; what is older was left behind by one that was killed
_MOST_LOOKED_AT = 20_000  # names in a folder that many share


def check_folder(folder: Path | FolderHandle, key: str, named: Path | None = None, *, shared: bool = True) -> str:
    """In words, that it can be written to as a peer would; one that is not there is not made, only tried.

    `named` is what the user calls it, where that is another; one not `shared` is for this user alone. Raises ConfigError, at `key`.
    """
    place = folder if isinstance(folder, FolderHandle) else FolderHandle(folder)
    called = named or place.path
    try:
        try_out(place)
        return f"{called} can be written to"
    except OSError as error:
        said = in_words(error, called, shared=shared)
        remedy = "or name another folder" if shared else "name another folder"
        raise ConfigError(Problem(key, f"{called} cannot be written to: {said}", remedy)) from error


def try_out(place: FolderHandle) -> None:
    """Do with a file what peers do with theirs, and leave nothing behind; where the folder is missing, in one that is made for it.

    The way is that of `FolderHandle.make`: what is refused there is refused here. Raises OSError.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        os.lstat(place.path)  # one that is too long could not be watched, though each of its names can be made
    try:
        descriptor = reach(place.named, place.below, unnamed=place.unnamed, make=_try_to_make, parents=True)
    except _TriedError:
        return
    try:
        with paths_in_errors(place.path):
            _try_in(descriptor)
    finally:
        os.close(descriptor)


class _TriedError(Exception):
    """A folder could be made there, and used."""


def _try_to_make(above: int, name: str, place: Path) -> None:
    """As `learnae.opening.Make`, but under another name, and nothing stays."""
    trial = _trial_name()
    make_in(above, trial, place.with_name(trial))
    try:
        with paths_in_errors(place.parent / trial), opened(trial, at=above) as at:
            _try_in(at)
    finally:
        with suppress(OSError):
            os.rmdir(trial, dir_fd=above)
    raise _TriedError


def _try_in(at: int) -> None:
    draft, final = _trial_name(), _trial_name()
    try:
        with create(draft, at=at) as file:
            file.write(_TEXT)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, final, src_dir_fd=at, dst_dir_fd=at)
        os.fsync(at)
        if read_file(final, len(_TEXT), at=at) != _TEXT:
            raise OSError(errno.EIO, "what was written is not what is read")
        _remove_left_behind(at, os.stat(final, dir_fd=at).st_mtime - LEFT_SECONDS)
        os.unlink(final, dir_fd=at)
    finally:
        for name in (draft, final):
            with suppress(OSError):
                remove(name, at=at)


def _trial_name() -> str:
    return f"new.{secrets.token_hex(16)}.check"


def _remove_left_behind(at: int, newest: float) -> None:
    """Of trials that were killed: files, as far as this user may, and empty folders. Times are of the machine that keeps them."""
    above = os.fstat(at)
    with os.scandir(at) as entries:
        names = [entry.name for entry in islice(entries, _MOST_LOOKED_AT) if _TRIAL.fullmatch(entry.name)]
    for name in names:
        with suppress(OSError):
            found = look(name, at=at)
            if found is None or found.st_mtime >= newest:
                continue
            if may_remove(found, above):
                remove(name, at=at)
            elif stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                os.rmdir(name, dir_fd=at)
