"""A pack: all blocks of one root in one file. Blocks, then an index, then a trailer that says whether the index is whole.

One file needs one fsync however many blocks it has (measured on ext4: 500 small blocks in 3 ms, in files of their own 180 ms), is whole
or absent after a crash, and is dropped by one unlink: neither counts of references nor locks between processes are needed.
The price is that a block which two roots name lies on the disk twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from learnae.durable import sync_folder
from learnae.records import BLOCK_BYTES, Block, Cid
from learnae.shared_folder import create

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
    """Writes a pack under a temporary name; it appears under its own name on `commit`, whole and durable, or never."""

    def __init__(self, path: Path, temporary: Path) -> None:
        self._path, self._temporary = path, temporary
        self._file = create(temporary)
        self._lengths: dict[Cid, int] = {}

    def add(self, block: Block) -> None:
        if not is_cid(block.cid) or len(block.data) > BLOCK_BYTES:
            raise ValueError(f"not a block: {block.cid!r} with {len(block.data)} bytes")
        if block.cid not in self._lengths:
            self._lengths[block.cid] = self._file.write(block.data)

    def add_all(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            self.add(block)

    def commit(self) -> None:
        """Durable when this returns."""
        index = "".join(f"{cid} {length}\n" for cid, length in self._lengths.items()).encode()
        if len(index) > _MAX_INDEX_BYTES:
            raise ValueError(f"{len(self._lengths)} blocks in one root: nobody would read so many")
        self._file.write(index + _TRAILER.pack(_MAGIC, len(index), hashlib.sha256(index).digest()))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.replace(self._path)
        sync_folder(self._path.parent)

    def discard(self) -> None:
        """Leave nothing behind; after `commit` this does nothing."""
        with contextlib.suppress(OSError):  # closing flushes: on a full disk it fails once more
            self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)


class Pack:
    """An open pack. Readable to the end even when the file is dropped or replaced meanwhile."""

    def __init__(self, path: Path) -> None:
        self._file = io.FileIO(path, opener=_open_plainly)
        status = os.fstat(self._file.fileno())
        self.size = status.st_size
        self.version = (status.st_ino, status.st_mtime_ns, status.st_size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()

    def index(self) -> dict[Cid, Place]:
        """Read the index. Raises BrokenPackError unless the file is whole."""
        end = self.size - _TRAILER.size
        if end < 0:
            raise BrokenPackError("too short")
        magic, length, digest = _TRAILER.unpack(self._read(end, _TRAILER.size))
        if magic != _MAGIC or length > min(end, _MAX_INDEX_BYTES):
            raise BrokenPackError("no trailer")
        index = self._read(end - length, length)
        if hashlib.sha256(index).digest() != digest:
            raise BrokenPackError("damaged index")
        return _parsed(index.decode("ascii", "replace"), end - length)

    def read(self, cid: Cid, place: Place) -> Block:
        return Block(cid, self._read(*place))

    def _read(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)


def _open_plainly(path: str, flags: int) -> int:
    """Whatever a stranger put there under this name: no link is followed, no pipe is waited for."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


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
