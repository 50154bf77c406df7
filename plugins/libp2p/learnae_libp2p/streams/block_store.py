"""The blocks of this peer: own roots, durable, and a cache of what was fetched. All in one folder of the strategy's home."""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio

from learnae import Block, Cid, UnavailableError, UpdateRejectedError
from learnae.lowlevel import MEGABYTE, RunInThread, is_intact, parse_cid
from learnae_libp2p.streams.block_cache import BlockCache
from learnae_libp2p.streams.root_files import (
    BrokenRootFileError,
    RootFile,
    RootFileWriter,
    is_ours,
    look_at,
    opened_folder,
    remove_drafts,
    remove_ours,
)

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

T = TypeVar("T")

_NAME = re.compile(r"root\.([a-z0-9]{59})(?:\.[0-9a-f]{8})?", re.ASCII)
_MOST_ROOTS = 10_000  # a peer keeps far fewer
_BATCH_BLOCKS = 16  # 8 MB at most in one call in a thread
_MOST_REPORTED = 100


@attrs.define(eq=False, kw_only=True)
class BlockStore:
    """`has` and `length` look at no disk, so that whoever asks for what is not here costs next to nothing.

    With `existing_only` it makes and removes nothing by itself, as a command wants it that only looks.
    """

    folder: Path
    in_thread: RunInThread
    log: FilteringBoundLogger
    cache_bytes: int = 1024 * MEGABYTE
    existing_only: bool = False
    cache: BlockCache = attrs.field()
    _roots: dict[Cid, RootFile] = attrs.field(factory=dict)
    _files: dict[Cid, dict[Cid, RootFile]] = attrs.field(factory=dict)  # by block, then by root
    _seen: tuple[int, int, int] = (0, 0, 0)  # the folder, as it was when it was read last
    _reported: set[str] = attrs.field(factory=set)
    _lock: threading.RLock = attrs.field(factory=threading.RLock)  # held by whoever changes what is known

    @cache.default
    def _own_cache(self) -> BlockCache:
        return BlockCache(self.folder / "cache", self.cache_bytes)

    @property
    def _own(self) -> Path:
        return self.folder / "roots"

    async def open(self) -> None:
        """Make the folder, clear away what a crash has left, and see what is there. Raises UnavailableError."""
        await self._on_disk(self._open)

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        """As `Storage.put`."""
        parse_cid(root)
        writer = RootFileWriter(self._own, root)
        try:
            await self._on_disk(writer.begin)
            remaining = iter(blocks)
            while batch := await self.in_thread(_take, remaining):
                await self._on_disk(writer.add_all, batch)
            await self._on_disk(self._commit, writer)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.in_thread(writer.discard)
            raise

    async def drop(self, root: Cid) -> None:
        """As `Storage.drop`."""
        await self._on_disk(self._drop, root)

    async def roots(self) -> Sequence[Cid]:
        """As `Storage.roots`."""
        await self._on_disk(self._refresh)
        return list(self._roots)

    async def deliver(self, cids: Sequence[Cid], deliver: Callable[[Block], None]) -> list[Cid]:
        """Deliver what is here. Returns the others, which are all where the disk cannot be read."""
        wanted = list(dict.fromkeys(cids))
        with suppress(UnavailableError):
            await self._on_disk(self._refresh)
        missing = list[Cid]()
        for place in range(0, len(wanted), _BATCH_BLOCKS):
            batch = wanted[place : place + _BATCH_BLOCKS]
            if any(map(self.has, batch)):
                blocks = await self.in_thread(self.read_all, batch)
            else:
                blocks = {}
                await trio.lowlevel.checkpoint()
            for block in blocks.values():
                deliver(block)
            missing += [cid for cid in batch if cid not in blocks]
        return missing

    def has(self, cid: Cid) -> bool:
        return cid in self._files or cid in self.cache

    def length(self, cid: Cid) -> int | None:
        """Of a block that is here."""
        if files := self._files.get(cid):
            for file in tuple(files.values()):
                return file.places[cid][1]
        return self.cache.length(cid)

    def read_all(self, cids: Iterable[Cid]) -> dict[Cid, Block]:
        """Those that are here and whole. In a thread."""
        found, others = dict[Cid, Block](), list[Cid]()
        with suppress(OSError), opened_folder(self._own) as at:
            for cid in cids:
                if (block := self._read_own(cid, at)) is not None:
                    found[cid] = block
                elif cid in self.cache:
                    others.append(cid)
        with suppress(OSError):
            found |= self.cache.read_all(others)
        return found

    def read_piece(self, cid: Cid, start: int, length: int) -> bytes:
        """So many bytes of a block that is here, whole and readable; else fewer. The first piece looks at all of it. In a thread."""
        with suppress(OSError):
            if self._files.get(cid):
                with opened_folder(self._own) as at:
                    for file in tuple(self._files.get(cid, {}).values()):
                        if cid in file.sound or self._is_sound(file, Block(cid, file.read(cid, at))):
                            return file.read(cid, at, start, length)
            return self.cache.read_piece(cid, start, length)
        return b""

    def keep(self, block: Block) -> None:
        """Cache a sound block of another peer, where there is room and the disk takes it. In a thread."""
        if self.existing_only or block.cid in self._files:
            return
        try:
            self.cache.keep(block)
        except OSError as error:
            self._report("cache", error.strerror or str(error))

    async def _on_disk(self, function: Callable[..., T], *args: Any) -> T:
        try:
            return await self.in_thread(function, *args)
        except OSError as error:
            raise UnavailableError(f"cannot use {error.filename or self.folder}: {error.strerror or error}") from error

    def _open(self) -> None:
        for folder in (self._own, self.cache.folder):
            if not self.existing_only:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with opened_folder(folder) as at:
                    if not self.existing_only:
                        remove_drafts(at)
            except FileNotFoundError:
                if not self.existing_only:  # nothing is in a folder that nobody has made
                    raise
        self._refresh()
        self.cache.load(read_only=self.existing_only)

    def _refresh(self) -> None:
        """What another process of the same user may have put meanwhile."""
        try:
            with self._lock, opened_folder(self._own) as at:
                if _version(at) != self._seen:
                    self._read_roots(at)
        except FileNotFoundError:
            if not self.existing_only:
                raise

    def _read_roots(self, at: int) -> None:
        seen, names = _version(at), set[str]()
        with os.scandir(at) as entries:
            for entry in islice((entry for entry in entries if _NAME.fullmatch(entry.name)), _MOST_ROOTS):
                names.add(entry.name)
        for file in [file for file in self._roots.values() if file.name not in names]:
            self._forget(file.root)
        for name in names:
            match = _NAME.fullmatch(name)
            assert match is not None
            if (found := self._load(name, match[1], at)) is not None:
                self._know(found)
        self._seen = seen

    def _load(self, name: str, root: str, at: int) -> RootFile | None:
        """None for what is not ours, not whole, or known already."""
        try:
            status = look_at(name, at)
            if status is None or not is_ours(status):
                self._report(name, "it is no plain file of this user")
                return None
            known = self._roots.get(Cid(root))
            if known is not None and known.file == (status.st_dev, status.st_ino):
                return None
            return RootFile.load(parse_cid(root), name, at)
        except (BrokenRootFileError, UpdateRejectedError, OSError) as error:
            self._report(name, str(error))
            return None

    def _know(self, file: RootFile) -> None:
        old = self._roots.get(file.root)
        self._roots[file.root] = file
        for cid in file.places:
            self._files.setdefault(cid, {})[file.root] = file
        for cid in old.places if old is not None else ():
            if cid not in file.places:
                self._unname(cid, file.root)

    def _forget(self, root: Cid) -> None:
        if (file := self._roots.pop(root, None)) is not None:
            for cid in file.places:
                self._unname(cid, root)

    def _unname(self, cid: Cid, root: Cid) -> None:
        if (files := self._files.get(cid)) is not None:
            files.pop(root, None)
            if not files:
                self._files.pop(cid, None)

    def _commit(self, writer: RootFileWriter) -> None:
        root = writer.root
        old = self._roots.get(root)
        name = f"root.{root}"
        file = writer.commit(name, f"{name}.{secrets.token_hex(4)}", old.file if old is not None and old.name == name else None)
        with self._lock:
            self._know(file)
        if old is not None and old.name != file.name:
            with suppress(OSError), opened_folder(self._own) as at:
                remove_ours(old.name, at)

    def _drop(self, root: Cid) -> None:
        with self._lock, opened_folder(self._own) as at:
            if _version(at) != self._seen:
                self._read_roots(at)
            if (file := self._roots.get(root)) is not None:
                remove_ours(file.name, at)
                self._forget(root)
                os.fsync(at)

    def _read_own(self, cid: Cid, at: int) -> Block | None:
        for file in tuple(self._files.get(cid, {}).values()):
            with suppress(OSError):  # another may have it too
                block = Block(cid, file.read(cid, at))
                if cid in file.sound or self._is_sound(file, block):
                    return block
        return None

    def _is_sound(self, file: RootFile, block: Block) -> bool:
        if not is_intact(block):
            self._report(file.name, f"the block {block.cid} in it is damaged")
            return False
        file.sound.add(block.cid)
        return True

    def _report(self, name: str, problem: str) -> None:
        if name not in self._reported and len(self._reported) < _MOST_REPORTED:
            self._reported.add(name)
            self.log.warning("storage.damaged", folder=str(self.folder), file=name, problem=problem)


def _take(blocks: Iterator[Block]) -> list[Block]:
    return list(islice(blocks, _BATCH_BLOCKS))


def _version(at: int) -> tuple[int, int, int]:
    status = os.fstat(at)
    return status.st_dev, status.st_ino, status.st_mtime_ns
