"""A bulletin board in a folder: one subfolder for each channel, in it one file with the newest message of each key."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from learnae.shared_folder import create, make_folder

_MAX_FILES = 10_000  # looked at in one channel
_OLD_SECONDS = 90 * 86_400.0  # so that a swarm which paused for the summer finds its models again
_NAME = re.compile(r"[0-9a-f]{32}", re.ASCII)

Version = tuple[int, int, int]


def channel_folder(board: Path, channel: str) -> Path:
    return board / _hashed(channel.encode())


def post(folder: Path, key: bytes, message: bytes) -> None:
    """Put a message in the place of the one before under this key, in one step."""
    make_folder(folder)
    temporary = folder / f"new.{secrets.token_hex(8)}"
    try:
        with create(temporary) as file:
            file.write(message)
        temporary.replace(folder / _hashed(key))
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


class Reader:
    """Reads what is new in some channels, and removes what is old. Nothing in the folder is believed: any program may write there."""

    def __init__(self, folders: Sequence[Path], max_bytes: int) -> None:
        self.folders = folders
        self._max_bytes = max_bytes
        self._seen: OrderedDict[str, Version] = OrderedDict()

    def prepare(self) -> None:
        for folder in self.folders:
            make_folder(folder)

    def look(self) -> list[bytes]:
        """Look at everything; return the messages that changed since the last look."""
        files = {entry.path: entry.stat(follow_symlinks=False) for entry in self._entries()}
        self._seen = OrderedDict((path, version) for path, version in self._seen.items() if path in files)
        return self.read(path for path, status in files.items() if self._seen.get(path) != _version(status))

    def read(self, paths: Iterable[str]) -> list[bytes]:
        """The messages in these files."""
        messages = (self._message(path) for path in paths if _NAME.fullmatch(os.path.basename(path)))
        return [message for message in messages if message is not None]

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        oldest = time.time() - _OLD_SECONDS
        for folder in self.folders:
            with os.scandir(folder) as entries:
                for entry in islice(entries, _MAX_FILES):
                    try:
                        if entry.stat(follow_symlinks=False).st_mtime >= oldest:
                            yield entry
                        elif entry.is_file(follow_symlinks=False):
                            os.unlink(entry.path)
                    except OSError:
                        pass  # removed since it was listed, or somebody else's, which the folder does not let us remove

    def _message(self, path: str) -> bytes | None:
        """The bytes of a plain file within the bound; None for anything else that a stranger may have put there."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            self._note(path, _version(status))
            if not stat.S_ISREG(status.st_mode) or status.st_size > self._max_bytes:
                return None
            return os.read(descriptor, self._max_bytes)
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def _note(self, path: str, version: Version) -> None:
        """Of too many, what was noted first is forgotten, and read once more at the next look."""
        self._seen[path] = version
        if len(self._seen) > _MAX_FILES * len(self.folders):
            self._seen.popitem(last=False)


def _hashed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _version(status: os.stat_result) -> Version:
    return status.st_mtime_ns, status.st_ino, status.st_size
