"""Blocks of others that were fetched, a file each, within a quota: what was used last stays. They are not durable, only whole or gone."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import attrs

from learnae import Block, Cid, UpdateRejectedError
from learnae.lowlevel import BLOCK_BYTES, is_intact, open_file, parse_cid, read_file
from learnae_libp2p.streams.root_files import is_ours, look_at, opened_folder, remove_ours, write_draft

PREFIX = "block."
MOST_BLOCKS = 50_000


@attrs.define(eq=False)
class BlockCache:
    """Its methods may be called in any thread; `length` and `in` also in the loop, since they look at no disk."""

    folder: Path
    quota: int  # bytes
    _lengths: OrderedDict[Cid, int] = attrs.field(factory=OrderedDict)  # the one used last comes last
    _sound: set[Cid] = attrs.field(factory=set)
    _total: int = 0
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def __contains__(self, cid: object) -> bool:
        return cid in self._lengths

    @property
    def total(self) -> int:
        """Bytes that are kept."""
        return self._total

    def length(self, cid: Cid) -> int | None:
        return self._lengths.get(cid)

    def load(self, *, read_only: bool = False) -> None:
        """What an earlier run has left; what is above the quota goes, unless this may only read."""
        with suppress(OSError), opened_folder(self.folder) as at:
            self._load(at, read_only=read_only)

    def _load(self, at: int, *, read_only: bool) -> None:
        found = list[tuple[int, Cid, int]]()
        with os.scandir(at) as entries:
            for entry in entries:
                if (cid := _cid_of(entry.name)) is None:
                    continue
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if is_ours(status) and status.st_size <= BLOCK_BYTES:
                        found.append((status.st_mtime_ns, cid, status.st_size))
        with self._lock:
            for _, cid, length in sorted(found):
                self._lengths[cid] = length
                self._total += length
            if not read_only:
                self._make_room(0, at)

    def keep(self, block: Block) -> bool:
        """Whether it is kept now. What it takes another's place for is gone. Raises OSError."""
        length = len(block.data)
        if block.cid in self._lengths or length > self.quota:
            return block.cid in self._lengths
        with opened_folder(self.folder) as at:
            name = PREFIX + block.cid
            if look_at(name, at) is not None:  # not ours, or it would be known
                return False
            with self._lock:
                self._make_room(length, at)
                self._total += length
            try:
                _write(name, block.data, at)
            except BaseException:
                with self._lock:
                    self._total -= length
                raise
        with self._lock:
            if block.cid in self._lengths:  # two threads have kept it at once
                self._total -= length
            self._lengths[block.cid] = length
            self._sound.add(block.cid)
        return True

    def read_all(self, cids: Iterable[Cid]) -> dict[Cid, Block]:
        """Those that are kept and whole. Raises OSError where the folder cannot be used."""
        with opened_folder(self.folder) as at:
            return {cid: block for cid in cids if (block := self._read(cid, at)) is not None}

    def _read(self, cid: Cid, at: int) -> Block | None:
        if cid not in self._lengths:
            return None
        try:
            block = Block(cid, read_file(PREFIX + cid, BLOCK_BYTES, at=at))
        except FileNotFoundError:
            self._forget(cid)
            return None
        except OSError:
            return None
        if cid not in self._sound and not is_intact(block):
            self._forget(cid)
            remove_ours(PREFIX + cid, at)
            return None
        with self._lock:
            self._sound.add(cid)
            if cid in self._lengths:
                self._lengths.move_to_end(cid)
        return block

    def read_piece(self, cid: Cid, start: int, length: int) -> bytes:
        """Some bytes of a block that is kept and whole; none of another. Raises OSError."""
        with opened_folder(self.folder) as at:
            if cid not in self._sound and self._read(cid, at) is None:
                return b""
            descriptor = open_file(PREFIX + cid, at=at)
            try:
                return os.pread(descriptor, length, start)
            finally:
                os.close(descriptor)

    def _make_room(self, length: int, at: int) -> None:
        while self._lengths and (self._total + length > self.quota or len(self._lengths) >= MOST_BLOCKS):
            cid, gone = self._lengths.popitem(last=False)
            self._sound.discard(cid)
            self._total -= gone
            with suppress(OSError):
                remove_ours(PREFIX + cid, at)

    def _forget(self, cid: Cid) -> None:
        with self._lock:
            self._total -= self._lengths.pop(cid, 0)
            self._sound.discard(cid)


def _cid_of(name: str) -> Cid | None:
    if not name.startswith(PREFIX):
        return None
    try:
        return parse_cid(name[len(PREFIX) :])
    except UpdateRejectedError:
        return None


def _write(name: str, data: bytes, at: int) -> None:
    draft, descriptor = write_draft(at)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)
        os.replace(draft, name, src_dir_fd=at, dst_dir_fd=at)
    except BaseException:
        with suppress(OSError):
            remove_ours(draft, at)
        raise
