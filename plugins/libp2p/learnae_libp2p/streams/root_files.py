"""All blocks of one root in one file: blocks, then an index, then a trailer that shows that the index is whole.

One file needs one fsync however many blocks it has, is whole or absent after a crash, and is dropped by one unlink.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from learnae import Block, Cid, UpdateRejectedError
from learnae.lowlevel import BLOCK_BYTES, cid_bytes, cid_text, open_file

_TRAILER = struct.Struct("<8sQ32s")  # magic, bytes of the index, sha256 of the index
_MAGIC = b"lrnroot1"
_ENTRY = struct.Struct(">36sI")
MOST_INDEX_BYTES = 1 << 24  # 400,000 blocks: 200 GB
DRAFT = "new."

Place = tuple[int, int]
"""Offset and length of a block in its file."""


class BrokenRootFileError(Exception):
    """This is not a whole file of blocks."""


@contextmanager
def opened_folder(path: Path) -> Iterator[int]:
    """The descriptor of this folder, and of no link to one. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_ours(found: os.stat_result) -> bool:
    """Whether this is a plain file with one name that belongs to this user: nothing else in the folder was made here."""
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == os.geteuid()


def look_at(name: str, at: int) -> os.stat_result | None:
    """What lies there, a link as such; None where nothing does. Raises OSError."""
    try:
        return os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return None


def remove_ours(name: str, at: int) -> None:
    """Remove this file if it is one of ours. Raises OSError."""
    if (found := look_at(name, at)) is not None and is_ours(found):
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=at)


def write_draft(at: int) -> tuple[str, int]:
    """The name and the descriptor of a new, empty file. Raises OSError."""
    name = DRAFT + secrets.token_hex(8)
    return name, open_file(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, at=at)


def remove_drafts(at: int) -> None:
    """Remove what a crash has left half written. Raises OSError."""
    for name in os.listdir(at):
        if name.startswith(DRAFT) and len(name) == len(DRAFT) + 16:
            remove_ours(name, at)


@attrs.define(eq=False)
class RootFile:
    """A whole file, and where each block lies in it. `sound` are those whose bytes were looked at."""

    root: Cid
    name: str
    file: tuple[int, int]  # device and inode
    places: dict[Cid, Place] = attrs.field(repr=False)
    sound: set[Cid] = attrs.field(factory=set, repr=False)

    @classmethod
    def load(cls, root: Cid, name: str, at: int) -> RootFile:
        """Raises BrokenRootFileError unless it is whole; OSError, also for what is no plain file of one name."""
        descriptor = open_file(name, at=at)
        try:
            found = os.fstat(descriptor)
            return cls(root, name, (found.st_dev, found.st_ino), _index(descriptor, found.st_size))
        finally:
            os.close(descriptor)

    def read(self, cid: Cid, at: int, start: int = 0, length: int | None = None) -> bytes:
        """The bytes of a block, or some of them; fewer where the file was cut. Raises OSError, KeyError."""
        offset, whole = self.places[cid]
        descriptor = open_file(self.name, at=at)
        try:
            return os.pread(descriptor, min(whole - start, whole if length is None else length), offset + start)
        finally:
            os.close(descriptor)


@attrs.define(eq=False)
class RootFileWriter:
    """Writes such a file under a name of its own; it counts once `commit` has returned, or never."""

    folder: Path
    root: Cid
    _draft: str = ""
    _descriptor: int = -1
    _file: tuple[int, int] = (0, 0)
    _places: dict[Cid, Place] = attrs.field(factory=dict)
    _length: int = 0

    def begin(self) -> None:
        """Raises OSError."""
        with opened_folder(self.folder) as at:
            self._draft, self._descriptor = write_draft(at)
        found = os.fstat(self._descriptor)
        self._file = found.st_dev, found.st_ino

    def add_all(self, blocks: Iterable[Block]) -> None:
        """Raises OSError; ValueError for what is no block."""
        for block in blocks:
            if len(block.data) > BLOCK_BYTES:
                raise ValueError(f"a block of {len(block.data)} bytes")
            if block.cid not in self._places:
                self._places[block.cid] = self._length, len(block.data)
                self._write(block.data)

    def commit(self, name: str, other: str, known: tuple[int, int] | None) -> RootFile:
        """Durable when this returns. It gets `other` where something lies under `name` that is not the file `known`. Raises OSError."""
        index = b"".join(_ENTRY.pack(cid_bytes(cid), length) for cid, (_, length) in self._places.items())
        if len(index) > MOST_INDEX_BYTES:
            raise ValueError(f"{len(self._places)} blocks in one root")
        self._write(index + _TRAILER.pack(_MAGIC, len(index), hashlib.sha256(index).digest()))
        os.fsync(self._descriptor)
        with opened_folder(self.folder) as at:
            found = look_at(name, at)
            if found is not None and (found.st_dev, found.st_ino) != known:
                name = other
            os.replace(self._draft, name, src_dir_fd=at, dst_dir_fd=at)
            try:
                os.fsync(at)
            except OSError:
                os.unlink(name, dir_fd=at)
                raise
        self._close()
        return RootFile(self.root, name, self._file, self._places, set(self._places))

    def discard(self) -> None:
        """Leave nothing behind; after `commit`, or before `begin`, this does nothing."""
        if self._descriptor >= 0:
            self._close()
            with suppress(OSError), opened_folder(self.folder) as at:
                remove_ours(self._draft, at)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = os.write(self._descriptor, rest)
            self._length += written
            rest = rest[written:]

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


def _index(descriptor: int, size: int) -> dict[Cid, Place]:
    """Every length is checked before it is believed. Raises BrokenRootFileError."""
    end = size - _TRAILER.size
    trailer = os.pread(descriptor, _TRAILER.size, end) if end >= 0 else b""
    if len(trailer) != _TRAILER.size:
        raise BrokenRootFileError("too short")
    magic, length, digest = _TRAILER.unpack(trailer)
    if magic != _MAGIC or length > min(end, MOST_INDEX_BYTES) or length % _ENTRY.size:
        raise BrokenRootFileError("no trailer")
    index = os.pread(descriptor, length, end - length)
    if hashlib.sha256(index).digest() != digest:
        raise BrokenRootFileError("a damaged index")
    places, offset = dict[Cid, Place](), 0
    for data, size in _ENTRY.iter_unpack(index):
        if size > BLOCK_BYTES:
            raise BrokenRootFileError("a block that is too long")
        try:
            places[cid_text(data)] = offset, size
        except UpdateRejectedError as error:
            raise BrokenRootFileError(str(error)) from None
        offset += size
    if offset != end - length:
        raise BrokenRootFileError("cut short")
    return places
