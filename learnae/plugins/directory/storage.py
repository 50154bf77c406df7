"""Blocks in a folder that any number of processes share; needs no daemon."""

from __future__ import annotations

import hmac
import math
import os
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import attrs
import trio
from attrs.validators import ge

from learnae.config.folders import check_folder
from learnae.config.tables import option
from learnae.errors import UnavailableError
from learnae.opening import look
from learnae.plugins.directory.packs import (
    DAY,
    BrokenPackError,
    Pack,
    PackWriter,
    draft_name,
    is_cid,
    is_owner,
    now_by,
    other_name,
    pack_name,
    parts,
    remove_abandoned,
    remove_drafts,
    touch,
)
from learnae.plugins.directory.search import BlockSearch, Indexes, take
from learnae.records import MEGABYTE, Block, Cid
from learnae.shared_folder import FolderHandle, in_words, may_remove, remove
from learnae.strategies import Context, Storage

T = TypeVar("T")

_LOOKS = 3
_MOST_OWN = 10_000  # a peer keeps far fewer
_PROVED_BYTES = 64 * MEGABYTE  # of indexes of own packs that are read at the start
_MOST_REPORTED = 100
_ORPHAN_SECONDS = 86_400.0
_CARE_SECONDS, _CARE_PART = 3600.0, 0.1  # how often, and of the time that the call has


@attrs.frozen
class DirectoryStorageOptions:
    path: Path | None = option(None, "The folder; without it one that all peers of this swarm on this machine share.")
    abandoned_days: float = option(180.0, "Models of a peer that has not run for so many days are removed by the others.", ge(1.0))


class DirectoryStorage(Storage):
    """Keeps the blocks of each root in one file, named by root and peer. After a crash a file is whole or not there."""

    Options = DirectoryStorageOptions
    leaves_machine: ClassVar[bool] = False

    def __init__(self, options: DirectoryStorageOptions, context: Context) -> None:
        super().__init__(options, context)
        self._place = FolderHandle(options.path) if options.path else FolderHandle(context.meeting, ("blocks",), unnamed=True)
        self.folder = self._place.path
        self._owner = _owner(context)
        self._indexes = Indexes()
        self._other_names: dict[Cid, str] = {}  # of own packs whose usual name a stranger has taken
        self._committed: dict[Cid, tuple[int, int]] = {}  # device and inode of what this process has put
        self._reported: set[str] = set()
        self._cares_at = {True: -math.inf, False: -math.inf}  # whether things are removed, and when the next time is

    async def __aenter__(self) -> Self:
        await self._on_disk(self._prepare)
        return self

    def hints(self) -> Sequence[str]:
        """Whose packs its blocks are in: others look there first, whatever else lies in the folder."""
        return (self._owner,)

    async def check(self) -> Sequence[str]:
        return [await self.context.in_thread(check_folder, self._place, "storage.path")]

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        """What is removed is removed before: after `commit` nothing may go wrong any more."""
        if not is_cid(root):
            raise ValueError(f"not a CID: {root!r}")
        await self._care(remove=True)
        writer = await self._on_disk(self._writer, root)
        try:
            remaining = iter(blocks)
            while batch := await self.context.in_thread(take, remaining):
                await self._on_disk(writer.add_all, batch)
            await self._on_disk(self._commit, writer, root)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.context.in_thread(writer.discard)
            raise

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        await self._care()
        wanted = dict.fromkeys(cids)
        owners = dict.fromkeys([*islice(filter(is_owner, hints), 1), self._owner])
        batches = self._batches(tuple(wanted), tuple(owners))
        try:
            while (batch := await self._on_disk(next, batches, None, missing=wanted)) is not None:
                for block in batch:
                    del wanted[block.cid]
                    deliver(block)
        finally:
            batches.close()
        if wanted:
            raise UnavailableError(f"{len(wanted)} of {len(cids)} blocks are not in {self.folder}", wanted)

    async def drop(self, root: Cid) -> None:
        if is_cid(root):
            await self._on_disk(self._unlink, root)

    async def roots(self) -> Sequence[Cid]:
        return await self._on_disk(self._roots)

    async def _on_disk(self, function: Callable[..., T], *args: Any, missing: Collection[Cid] = ()) -> T:
        try:
            return await self.context.in_thread(function, *args)
        except OSError as error:
            raise UnavailableError(in_words(error, self.folder), missing) from error

    def _writer(self, root: Cid) -> PackWriter:
        with self._place.opened() as at:
            return PackWriter(pack_name(root, self._owner), draft_name(self._owner), at=at)

    def _commit(self, writer: PackWriter, root: Cid) -> None:
        """Nothing goes wrong after the pack has its name."""
        usual, other = pack_name(root, self._owner), self._other_names.get(root) or other_name(root, self._owner)
        name = writer.commit(other)
        self._committed[root] = writer.file
        if name != usual:
            self._other_names[root] = other
        elif self._other_names.pop(root, None):
            with suppress(OSError), self._place.opened() as at:
                remove(other, at=at)

    def _prepare(self) -> None:
        """Make the folder, and clear away what a crash or a power cut left of this peer, and long ago of others."""
        if self.context.existing_only:
            return
        self._place.make(parents=True)
        with self._place.opened() as at:
            now = self._now(at)
            remove_drafts(at, self._owner, None if now is None else now - _ORPHAN_SECONDS)
            left = _PROVED_BYTES
            for name in self._own_packs(at):
                if left > 0:
                    left -= self._prove(name, at)
            os.fsync(at)

    def _now(self, at: int) -> float | None:
        """None where nobody knows how old the files of others are."""
        try:
            return now_by(draft_name(self._owner), at)
        except OSError:
            return None

    async def _care(self, *, remove: bool = False) -> None:
        """Now and then, show that this peer is alive, and remove what those have left behind that are not. It stands before what it
        is called for, takes little of its time, and what goes wrong in it does not matter.
        """
        now = self.context.clock()
        if self.context.existing_only or now < self._cares_at[remove]:
            return
        self._cares_at[remove] = now + _CARE_SECONDS
        begin = trio.current_time()
        with trio.CancelScope(deadline=begin + (trio.current_effective_deadline() - begin) * _CARE_PART):
            try:
                await self.context.in_thread(self._touch)
                if remove:
                    await self._remove_abandoned()
            except OSError as error:
                self.context.log.debug("storage.no_care", folder=str(self.folder), cause=in_words(error, self.folder))

    async def _remove_abandoned(self) -> None:
        steps, removed = self._remove_some(), 0
        try:
            while (more := await self.context.in_thread(next, steps, None)) is not None:
                removed += more
        finally:
            steps.close()
            if removed:
                days = self.options.abandoned_days
                self.context.log.info("storage.abandoned", folder=str(self.folder), removed=removed, days=days)

    def _remove_some(self) -> Generator[int, None, None]:
        with self._place.opened() as at:
            if (now := self._now(at)) is not None:
                yield from remove_abandoned(at, self._owner, now - self.options.abandoned_days * DAY, self.context.rng.random())

    def _touch(self) -> None:
        with self._place.opened() as at:
            touch(self._own_packs(at), at)

    def _prove(self, name: str, at: int) -> int:
        """Remove an own pack if it was read and is not whole; what cannot be read now may still be. The bytes that it took."""
        try:
            with Pack(name, at=at) as pack:
                size = pack.index_bytes()
                pack.index()
                return size
        except BrokenPackError as error:
            self._report(name, str(error))
            with suppress(OSError):
                remove(name, at=at)
        except OSError as error:
            self._report(name, error.strerror or str(error))
        return 0

    def _unlink(self, root: Cid) -> None:
        """What a stranger has put there so that it cannot be removed is in nobody's way. What this process has put goes also where the
        system calls it another user's, as some network shares do, or it says that it cannot.
        """
        with self._place.opened() as at:
            above = os.fstat(at)
            for name in (pack_name(root, self._owner), self._other_names.get(root)):
                if not name or (found := look(name, at=at)) is None:
                    continue
                if may_remove(found, above) or (found.st_dev, found.st_ino) == self._committed.get(root):
                    remove(name, at=at)
                else:
                    self._report(name, f"it belongs to another user ({found.st_uid})", "storage.not_dropped")
            self._other_names.pop(root, None)
            self._committed.pop(root, None)
            os.fsync(at)

    def _roots(self) -> list[Cid]:
        try:
            with self._place.opened() as at:
                return list(dict.fromkeys(said[0] for name in self._own_packs(at) if (said := parts(name))))
        except FileNotFoundError:
            if self.context.existing_only:  # nothing is in a folder that nobody has made
                return []
            raise

    def _names(self) -> Generator[str, None, None]:
        """All that lies in the folder, as it is listed."""
        with self._place.opened() as at, os.scandir(at) as entries:
            for entry in entries:
                yield entry.name

    def _own_packs(self, at: int) -> list[str]:
        """Those that this peer could remove: what a stranger has named so is not its own. Notes which have another than the usual name."""
        above, own, committed = os.fstat(at), list[str](), set(self._committed.values())
        with os.scandir(at) as entries:
            for entry in entries:
                said = parts(entry.name)
                if said is None or said[1] != self._owner:
                    continue
                with suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    if may_remove(found, above) or (found.st_dev, found.st_ino) in committed:
                        own.append(entry.name)
                        if entry.name != pack_name(*said):
                            self._other_names[said[0]] = entry.name
                if len(own) >= _MOST_OWN:
                    break
        return own

    def _batches(self, cids: Sequence[Cid], owners: Collection[str]) -> Generator[list[Block], None, None]:
        """The blocks that there are, some megabytes at a time, or none of them yet. Runs in threads, never in two at once."""
        left = dict.fromkeys(cids)
        for _ in range(_LOOKS):
            with self._place.opened() as at:
                search = BlockSearch(at, left, self._indexes, self._report, self.context.rng.random())
                yield from search.expected(owners)
                if left:
                    self._reported.difference_update([name for name in tuple(self._reported) if look(name, at=at) is None])
                    with closing(self._names()) as names:
                        yield from search.others(names, owners)
            if not left or not search.gone:
                return

    def _report(self, name: str, problem: str, event: str = "storage.damaged") -> None:
        if name not in self._reported and len(self._reported) < _MOST_REPORTED:
            self._reported.add(name)
            self.context.log.warning(event, folder=str(self.folder), file=name, problem=problem)


def _owner(context: Context) -> str:
    """The peer, in the names of its files; in a private swarm something from which only members can tell the peer."""
    secret = context.secret("the owner of a file")
    return context.peer if secret is None else hmac.digest(secret, context.peer.encode(), "sha256").hex()
