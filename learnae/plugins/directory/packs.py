"""A pack: all blocks of one root in one file of a folder. Blocks, then an index, then a trailer that shows that the index is whole.

One file needs one fsync however many blocks it has (measured on ext4: 500 small blocks in 3 ms, in files of their own 180 ms), is whole
or absent after a crash, and is dropped by one unlink: neither counts of references nor locks between processes are needed.
The price is that a block which two roots name lies on the disk twice.

In a folder that many share, somebody has to clear away the packs of peers that are gone for good. A peer touches its own packs once a day
while it runs, so the age of a file tells for how long its peer has been away. Ages are differences between times of files, which all come
from the machine that keeps them: the clock of a peer alone removes nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import struct
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from learnae.opening import folder as opened
from learnae.opening import look, open_file, open_folder
from learnae.records import BLOCK_BYTES, Block, Cid
from learnae.shared_folder import create, give_name, may_remove, remove

_OWNER = re.compile("[0-9a-f]{64}", re.ASCII)
_PACK = re.compile(r"([a-z0-9]{59})\.([0-9a-f]{64})(?:\.[0-9a-f]{8})?", re.ASCII)
_DRAFT = re.compile(r"new\.([0-9a-f]{64})\.[0-9a-f]{1,16}", re.ASCII)


def is_owner(text: str) -> bool:
    return _OWNER.fullmatch(text) is not None


def pack_name(root: Cid, owner: str) -> str:
    return f"{root}.{owner}"


def other_name(root: Cid, owner: str) -> str:
    """One that nobody knows before, for where a stranger has taken the first."""
    return f"{root}.{owner}.{secrets.token_hex(4)}"


def draft_name(owner: str) -> str:
    return f"new.{owner}.{secrets.token_hex(6)}"


def parts(name: str) -> tuple[Cid, str] | None:
    """The root and the owner that a pack's name says; None for what isn't one."""
    match = _PACK.fullmatch(name)
    return (Cid(match[1]), match[2]) if match and is_cid(match[1]) else None


def owner_of_draft(name: str) -> str | None:
    match = _DRAFT.fullmatch(name)
    return match[1] if match else None


_TRAILER = struct.Struct("<8sQ32s")  # magic, bytes of the index, sha256 of the index
_MAGIC = b"learnae1"
_MAX_INDEX_BYTES = 1 << 24  # 240,000 blocks: updates of 30 GB and more, and not above 100 MB of memory for a stranger's index
_CID = re.compile(r"b[a-z2-7]{58}")
_ENTRY = re.compile(r"^(b[a-z2-7]{58}) ([0-9]{1,6})$", re.MULTILINE)

Place = tuple[int, int]
"""Offset and length of a block in its pack."""


def is_cid(text: str) -> bool:
    """Whether this has the form of a CID; nothing else ever becomes the name of a file."""
    return _CID.fullmatch(text) is not None


class BrokenPackError(Exception):
    """This file is not a whole pack."""


class PackWriter:
    """Writes a pack under a temporary name; it appears under its own name on `commit`, whole and durable, or never.

    Both names lie in one folder: that of the descriptor `at`, or that of `path`. It is held until the end, whatever becomes of its name.
    """

    def __init__(self, path: str | Path, temporary: str | Path, *, at: int | None = None) -> None:
        self._name, self._temporary = Path(path).name, Path(temporary).name
        self._at = os.dup(at) if at is not None else open_folder(Path(path).parent)
        try:
            self._file = create(self._temporary, at=self._at)
        except BaseException:
            os.close(self._at)
            raise
        status = os.fstat(self._file.fileno())
        self.file = (status.st_dev, status.st_ino)
        self._lengths: dict[Cid, int] = {}

    def add(self, block: Block) -> None:
        if not is_cid(block.cid) or len(block.data) > BLOCK_BYTES:
            raise ValueError(f"not a block: {block.cid!r} with {len(block.data)} bytes")
        if block.cid not in self._lengths:
            self._lengths[block.cid] = self._file.write(block.data)

    def add_all(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self.add(block)

    def commit(self, other: str | None = None) -> str:
        """Durable when this returns, under the name that it returns: `other` where a stranger has taken the first one."""
        index = "".join(f"{cid} {length}\n" for cid, length in self._lengths.items()).encode()
        if len(index) > _MAX_INDEX_BYTES:
            raise ValueError(f"{len(self._lengths)} blocks in one root: nobody would read so many")
        self._file.write(index + _TRAILER.pack(_MAGIC, len(index), hashlib.sha256(index).digest()))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        name = give_name(self._temporary, self._name, other or self._name, at=self._at)
        os.fsync(self._at)
        self._close()
        return str(name)

    def discard(self) -> None:
        """Leave nothing behind; after `commit` this does nothing."""
        if self._at < 0:
            return
        with suppress(OSError):  # closing flushes: on a full disk it fails once more
            self._file.close()
        with suppress(OSError):
            remove(self._temporary, at=self._at)
        self._close()

    def _close(self) -> None:
        at, self._at = self._at, -1
        os.close(at)


class Pack:
    """An open pack, in the folder `at` if that is given. Readable to the end even when the file is dropped or replaced meanwhile.

    Raises OSError, UnfitError among them for whatever else a stranger may have put there under this name.
    """

    def __init__(self, path: str | Path, *, at: int | None = None) -> None:
        self._descriptor = open_file(path, at=at, links=None)  # one with many names is no worse: `search` says why
        status = os.fstat(self._descriptor)
        self.size = status.st_size
        self.file = (status.st_dev, status.st_ino)
        self.version = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._descriptor)

    def index_bytes(self) -> int:
        """The length of its index, as it says. Raises BrokenPackError where that cannot be."""
        return self._trailer()[0]

    def index(self, wanted: Collection[Cid] | None = None) -> dict[Cid, Place]:
        """Read the index. Raises BrokenPackError unless the file is whole.

        Where none of the few that are `wanted` stands in it, it's empty, and was not looked at further: that costs a hundredth.
        """
        length, digest = self._trailer()
        end = self.size - _TRAILER.size
        index = self._read(end - length, length)
        if wanted is not None and not any(cid.encode() in index for cid in wanted):
            return {}
        if hashlib.sha256(index).digest() != digest:
            raise BrokenPackError("damaged index")
        return _parsed(index.decode("ascii", "replace"), end - length)

    def read(self, cid: Cid, place: Place) -> Block:
        """A block, shorter than its place says if the file has been cut since: no hash fits then."""
        offset, length = place
        return Block(cid, os.pread(self._descriptor, length, offset))

    def _trailer(self) -> tuple[int, bytes]:
        """The length of the index, and its hash."""
        end = self.size - _TRAILER.size
        if end < 0:
            raise BrokenPackError("too short")
        magic, length, digest = _TRAILER.unpack(self._read(end, _TRAILER.size))
        if magic != _MAGIC or length > min(end, _MAX_INDEX_BYTES):
            raise BrokenPackError("no trailer")
        return length, digest

    def _read(self, offset: int, length: int) -> bytes:
        """Exactly so many bytes. Raises BrokenPackError for a file that has been cut since it was opened."""
        data = os.pread(self._descriptor, length, offset)
        if len(data) < length:
            raise BrokenPackError("cut while it was read")
        return data


def _parsed(index: str, data_bytes: int) -> dict[Cid, Place]:
    """Offsets from lengths. The folder may be anybody's: every length is checked before it is believed."""
    entries = _ENTRY.findall(index)
    places, offset = {}, 0
    for cid, digits in entries:
        length = int(digits)
        places[Cid(cid)] = offset, length
        offset += length
    if len(entries) != index.count("\n") or max((length for _, length in places.values()), default=0) > BLOCK_BYTES:
        raise BrokenPackError("senseless index")
    if offset != data_bytes:
        raise BrokenPackError("truncated")
    return places


DAY = 86_400.0
MOST_LOOKED_AT, MOST_REMOVED = 20_000, 1_000  # in one go
STEP = 500  # looked at in one call in a thread


def touch(files: Iterable[str], at: int) -> None:
    """Show that their peer is alive. A time far ahead is one of a clock that has been wrong since, here or there."""
    for file in files:
        with suppress(OSError):
            found = look(file, at=at)
            if found and stat.S_ISREG(found.st_mode) and abs(time.time() - found.st_mtime) > DAY:
                os.utime(file, dir_fd=at, follow_symlinks=False)


def now_by(probe: str, at: int) -> float | None:
    """What the time is where the files are kept, by a new one; None if it is a day from the time here: one is wrong. Raises OSError."""
    with create(probe, at=at) as file:
        try:
            now = os.fstat(file.fileno()).st_mtime
        finally:
            remove(probe, at=at)
    return now if abs(time.time() - now) < DAY else None


def remove_abandoned(folder: Path | int, own: str, newest: float, start: float = 0.0) -> Iterator[int]:
    """Remove packs that nobody has touched since `newest`, but none of this owner. Yields how many it removed in each step.

    `folder` is its path or its descriptor. In one with more than it looks at in one go, `start`, from 0 to 1, is where it begins.
    Raises OSError.
    """
    if isinstance(folder, Path):
        with opened(folder) as at:
            yield from remove_abandoned(at, own, newest, start)
        return
    names = [name for name in os.listdir(folder) if _is_pack_of_another(name, own)]
    first, left = int(start * len(names)), MOST_REMOVED
    turn = [*names[first:], *names[:first]][:MOST_LOOKED_AT]
    for place in range(0, len(turn), STEP):
        removed = _remove(folder, turn[place : place + STEP], newest, left)
        left -= removed
        yield removed
        if not left:
            return


def remove_drafts(at: int, owner: str, newest: float | None) -> int:
    """Remove what a crash left half written: of this owner all, of others what is older than `newest`; without it none. How many.

    Raises OSError.
    """
    removed = 0
    for name in os.listdir(at):
        if (whose := owner_of_draft(name)) is None or (whose != owner and newest is None):
            continue
        removed += _remove(at, [name], None if whose == owner else newest, MOST_REMOVED - removed)
    return removed


def _remove(at: int, names: Sequence[str], newest: float | None, most: int) -> int:
    removed, above = 0, os.fstat(at)
    for name in names:
        with suppress(OSError):  # somebody else was faster, or the folder lets only its owner do so
            found = look(name, at=at) if removed < most else None
            if found and may_remove(found, above) and (newest is None or found.st_mtime < newest):
                os.unlink(name, dir_fd=at)
                removed += 1
    return removed


def _is_pack_of_another(name: str, own: str) -> bool:
    found = parts(name)
    return found is not None and found[1] != own
