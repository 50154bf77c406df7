"""Reads and changes `data/pool.json`: the whole index once, and a line behind it for each slice that comes.

The whole index is replaced at once, and a line counts from its newline on. So whoever reads sees one state or the next, also where a writer
is killed in between. Whoever has read a file before reads only what came behind that. One process writes at a time, by the pool's lock.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence

import attrs

from learnae.data.pool_index import (
    INDEX,
    MOST_INDEX_BYTES,
    POOL,
    DecodedIndex,
    PooledSlice,
    PoolIndex,
    decode_changes,
    decode_index,
    encode_change,
    encode_index,
    entry_bytes,
)
from learnae.errors import ConfigError, Problem, UpdateRejectedError
from learnae.identity.home_folder import HomeFolder
from learnae.opening import read_some, replace_file

_LINES_BYTES = 1 << 16
"""With more behind it, and more than itself has, the whole index is written anew."""
_BEGIN_BYTES = 64
"""The beginning of a file, with the name of this writing of it: an inode's number is given again to another file."""


@attrs.frozen
class ReadIndex:
    """What was read or written last. `first` and `end` are where its first and its last whole line end.

    `said` is what its entries take, by `entry_bytes`.
    """

    decoded: DecodedIndex = attrs.field(factory=DecodedIndex)
    begin: bytes = b""
    first: int = 0
    end: int = 0
    said: int = 0

    @property
    def index(self) -> PoolIndex:
        return self.decoded.index


def read_index(data: HomeFolder, before: ReadIndex | None = None) -> ReadIndex:
    """An empty one where there is none. `before` is what this process has read there before.

    Raises ConfigError for one that is damaged or not this user's, and OSError.
    """
    try:
        try:
            return _look(data, before)
        except UpdateRejectedError:  # perhaps a writer cut off, just then, what another one had left that was killed
            return _look(data)
    except UpdateRejectedError as error:
        message, remedy = f"is damaged: {error.detail}", f"move it away together with the folder {POOL} beside it; slices are fetched again"
        raise ConfigError(Problem(str(data.path / INDEX), message, remedy)) from None
    except FileNotFoundError:
        return ReadIndex()


def _look(data: HomeFolder, before: ReadIndex | None = None) -> ReadIndex:
    with os.fdopen(data.open(INDEX, max_bytes=MOST_INDEX_BYTES), "rb") as file:
        if before is not None and before.begin and os.pread(file.fileno(), _BEGIN_BYTES, 0) == before.begin:
            file.seek(before.end)
            return _further(before, read_some(file, MOST_INDEX_BYTES - before.end))
        return _read(read_some(file, MOST_INDEX_BYTES))


def write_index(data: HomeFolder, index: PoolIndex) -> ReadIndex:
    """Replace it; when this returns, it is on the disk. Raises OSError."""
    content = encode_index(index, secrets.token_hex(8))
    replace_file(INDEX, content, at=data.fd, durable=True)
    return _read(content)


def change_line(found: ReadIndex, new: PooledSlice, going: Sequence[PooledSlice]) -> bytes | None:
    """What lets a slice come and others go. None where the whole index is to be replaced: the schema is new, or there are many lines."""
    key = next((key for key, schema in found.decoded.schemas.items() if schema == new.schema), None)
    if key is None:
        return None
    line = encode_change(new, key, [one.root for one in going])
    end = found.end + len(line)
    return None if end > MOST_INDEX_BYTES or end - found.first > max(found.first, _LINES_BYTES) else line


def add_line(data: HomeFolder, found: ReadIndex, line: bytes) -> ReadIndex:
    """Add it to the file, which is as it was `found`. When this returns, it is on the disk. Raises OSError."""
    descriptor = data.open(INDEX, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, found.end)  # what a writer has left that was killed, or whose disk was full
        _write_all(descriptor, line, found.end)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return _further(found, line)


def _write_all(descriptor: int, content: bytes, place: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, place)
        content, place = content[written:], place + written


def _read(content: bytes) -> ReadIndex:
    whole = content[: content.rfind(b"\n") + 1]
    decoded = decode_index(whole)
    return ReadIndex(decoded, whole[:_BEGIN_BYTES], whole.find(b"\n") + 1, len(whole), _said(decoded))


def _further(before: ReadIndex, content: bytes) -> ReadIndex:
    whole = content[: content.rfind(b"\n") + 1]
    if not whole:
        return before
    decoded = decode_changes(whole, before.decoded)
    return attrs.evolve(before, decoded=decoded, end=before.end + len(whole), said=_said(decoded))


def _said(decoded: DecodedIndex) -> int:
    return sum(map(entry_bytes, decoded.index.slices))
