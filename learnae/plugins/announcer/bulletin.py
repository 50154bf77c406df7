"""A bulletin board in a folder: one subfolder for each channel, in it one file with the newest message of each key."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import time
from collections import OrderedDict, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from learnae.opening import UnfitError, open_file
from learnae.shared_folder import Place, create, give_name, in_turns, may_remove, remove

_MAX_FILES = 100_000  # known of one channel
_MAX_READ, _MAX_READ_BYTES = 10_000, 1 << 23  # in one look
_STEP = 500  # files looked at in one step
_OLD_SECONDS = 90 * 86_400.0  # so that a swarm which paused for the summer finds its models again
_NAME = re.compile(r"[0-9a-f]{32}", re.ASCII)
_DRAFT = re.compile(r"new\.[0-9a-f]{16}", re.ASCII)

Version = tuple[int, int, int]


def channel_name(channel: str) -> str:
    return _hashed(channel.encode())


def channel_folder(board: Path, channel: str) -> Path:
    return board / channel_name(channel)


def post(folder: Path | Place, key: bytes, message: bytes, other: str | None = None) -> str | None:
    """Put a message in the place of the one before under this key, in one step.

    Where a stranger has put what cannot be replaced under the key's name, such as a folder, it gets another one, which no stranger knows
    before: readers take any. That one is returned, and wanted as `other` with the next message of this key. Raises OSError.
    """
    place, name = _place(folder), _hashed(key)
    place.make()
    with place.opened() as at:
        draft = f"new.{secrets.token_hex(8)}"
        try:
            with create(draft, at=at) as file:
                file.write(message)
            got = give_name(draft, name, other or secrets.token_hex(16), at=at)
        except OSError:
            remove(draft, at=at)
            raise
        if got != name:
            return str(got)
        if other is not None:
            with suppress(OSError):
                remove(other, at=at)
        return None


class Reader:
    """Reads what is new in some channels, and removes what is old. Nothing in the folder is believed: any program may write there.

    Files of all users of the machine are read in turns, the newest first: many of one user do not keep the others waiting. Of what a
    look leaves unread, which `more` tells, one can `go_on` reading.
    """

    def __init__(self, folders: Sequence[Path | Place], max_bytes: int) -> None:
        self._places = [_place(folder) for folder in folders]
        self._paths = [str(place.path) for place in self._places]
        self._max_bytes = max_bytes
        self._seen: OrderedDict[str, Version] = OrderedDict()
        self._waiting: deque[tuple[int, str, os.stat_result]] = deque()

    @property
    def folders(self) -> list[Path]:
        return [place.path for place in self._places]

    def prepare(self) -> None:
        for place in self._places:
            place.make()

    def look(self) -> list[bytes]:
        """Look at everything; return the messages that changed since the last look, or those of them that come first. Raises OSError."""
        return [message for messages in self.steps() for message in messages]

    def steps(self) -> Generator[list[bytes], None, None]:
        """A look, in steps of which none takes long; the messages come with the last one. Raises OSError."""
        self._waiting.clear()
        for number, place in enumerate(self._places):
            files: dict[str, os.stat_result] = {}
            with place.opened() as at:
                for found in self._files(at):
                    if found is None:
                        yield []
                    else:
                        files[found[0]] = found[1]
            self._forget_all_but(number, files)
            new = [name for name, status in files.items() if self._seen.get(f"{number}/{name}") != _version(status)]
            new.sort(key=lambda name: files[name].st_ctime_ns, reverse=True)  # called at once; mtime can be set by anybody
            self._waiting.extend((number, name, files[name]) for name in in_turns(new, lambda name: files[name].st_uid))  # noqa: B023
        yield self.go_on()

    def go_on(self) -> list[bytes]:
        """Of what the last look found, what has not been read yet, or the first of it. Raises OSError."""
        messages: list[bytes] = []
        taken = 0
        with ExitStack() as stack:
            opened: dict[int, int] = {}
            for _ in range(min(len(self._waiting), _MAX_READ)):
                number, name, status = self._waiting.popleft()
                if number not in opened:
                    opened[number] = stack.enter_context(self._places[number].opened())
                if (message := self._message(number, name, opened[number], status)) is not None:
                    messages.append(message)
                    taken += len(message)
                if taken > _MAX_READ_BYTES:
                    break
        return messages

    @property
    def more(self) -> bool:
        return bool(self._waiting)

    def read(self, paths: Iterable[str]) -> list[bytes]:
        """The messages in these files. Raises OSError for a folder that has gone."""
        names: dict[str, list[str]] = {}
        for path in paths:
            folder, name = os.path.split(path)
            if _NAME.fullmatch(name):
                names.setdefault(folder, []).append(name)
        messages = []
        for number, path in enumerate(self._paths):
            if wanted := names.get(path):
                with self._places[number].opened() as at:
                    messages += [message for name in wanted if (message := self._message(number, name, at)) is not None]
        return messages

    def _files(self, at: int) -> Iterator[tuple[str, os.stat_result] | None]:
        """The plain files whose names have the form of a message's, and None after some; those that are old are removed."""
        above, oldest, found = os.fstat(at), time.time() - _OLD_SECONDS, 0
        with os.scandir(at) as entries:
            for count, entry in enumerate(entries, 1):
                if count % _STEP == 0:
                    yield None
                is_message = _NAME.fullmatch(entry.name) is not None
                if not is_message and not _DRAFT.fullmatch(entry.name):
                    continue
                with suppress(OSError):  # removed since it was listed
                    status = entry.stat(follow_symlinks=False)
                    if status.st_mtime < oldest:
                        if may_remove(status, above):
                            remove(entry.name, at=at)
                    elif is_message and stat.S_ISREG(status.st_mode):
                        yield entry.name, status
                        found += 1
                        if found >= _MAX_FILES:
                            return

    def _message(self, number: int, name: str, at: int, listed: os.stat_result | None = None) -> bytes | None:
        """The bytes of a plain file within the bound; None for anything else that a stranger may have put there.

        A file may have several names (hard links): were it left out, anybody could hide it who can give it another one.
        """
        try:
            descriptor = open_file(name, at=at, links=None, max_bytes=self._max_bytes)
        except (UnfitError, PermissionError):
            if listed is not None:
                self._note(f"{number}/{name}", _version(listed))
            return None
        except OSError:
            return None
        try:
            self._note(f"{number}/{name}", _version(os.fstat(descriptor)))
            return os.read(descriptor, self._max_bytes)
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def _forget_all_but(self, number: int, names: Iterable[str]) -> None:
        there = {f"{number}/{name}" for name in names}
        for key in [key for key in self._seen if key.startswith(f"{number}/") and key not in there]:
            del self._seen[key]

    def _note(self, key: str, version: Version) -> None:
        """Of too many, what was noted first is forgotten, and read once more at the next look."""
        self._seen[key] = version
        if len(self._seen) > _MAX_FILES * len(self._places):
            self._seen.popitem(last=False)


def _place(folder: Path | Place) -> Place:
    return folder if isinstance(folder, Place) else Place(folder)


def _hashed(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _version(status: os.stat_result) -> Version:
    return status.st_ctime_ns, status.st_ino, status.st_size
