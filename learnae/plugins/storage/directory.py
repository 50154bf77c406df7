"""Blocks in a folder that any number of processes share; needs no daemon."""

from __future__ import annotations

import hmac
import math
import secrets
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import attrs
import trio
from attrs.validators import ge

from learnae.config.folders import check_folder
from learnae.config.tables import key
from learnae.content.cids import check
from learnae.durable import sync_folder
from learnae.errors import Unavailable
from learnae.plugins.storage.abandoned import DAY, age, now_by, remove_abandoned, touch
from learnae.plugins.storage.indexes import Indexes
from learnae.plugins.storage.packs import BrokenPackError, Pack, PackWriter, Place, is_cid
from learnae.records import MEGABYTE, Block, Cid
from learnae.shared_folder import in_words, make_folder
from learnae.strategies import Context, Storage

T = TypeVar("T")

_BATCH_BYTES = 8 * MEGABYTE  # what one call in a thread reads or writes: as long as a cancellation may have to wait
_PACKS_AT_ONCE = 64  # looked into in one call in a thread, whatever they hold
_LOOKS = 3
_ORPHAN_SECONDS = 86_400.0
_CARE_SECONDS, _CARE_PART = 3600.0, 0.1  # how often, and of the time that the call has
_NEW = "new"


@attrs.frozen
class DirectoryStorageOptions:
    path: Path | None = key(None, "The folder; without it one that all peers of this swarm on this machine share.")
    abandoned_days: float = key(180.0, "Models of a peer that has not run for so many days are removed by the others.", ge(1.0))


class DirectoryStorage(Storage):
    """Keeps each root's blocks in one file, named by root and peer. Durable on return, whole or absent after a crash."""

    Options = DirectoryStorageOptions
    leaves_machine: ClassVar[bool] = False

    def __init__(self, options: DirectoryStorageOptions, context: Context) -> None:
        super().__init__(options, context)
        self.folder = options.path or context.meeting / "blocks"
        self._owner = _owner(context)
        self._indexes = Indexes()
        self._reported: set[str] = set()
        self._cares_at = {True: -math.inf, False: -math.inf}  # whether things are removed, and when the next time is

    async def __aenter__(self) -> Self:
        await self._on_disk(self._prepare)
        return self

    async def check(self) -> Sequence[str]:
        return [await self.context.in_thread(check_folder, self.folder, "storage.path")]

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        """What is removed is removed before: after `commit` nothing may go wrong any more."""
        path = self._path(root)
        await self._care(remove=True)
        writer = await self._on_disk(PackWriter, path, self._draft())
        try:
            remaining = iter(blocks)
            while batch := await self.context.in_thread(_take, remaining):
                await self._on_disk(writer.add_all, batch)
            await self._on_disk(writer.commit)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.context.in_thread(writer.discard)
            raise

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        await self._care()
        wanted = dict.fromkeys(cids)
        batches = self._batches(tuple(wanted))
        try:
            while (batch := await self._on_disk(next, batches, None, missing=wanted)) is not None:
                for block in batch:
                    del wanted[block.cid]
                    deliver(block)
        finally:
            batches.close()
        if wanted:
            raise Unavailable(f"{len(wanted)} of {len(cids)} blocks are not in {self.folder}", wanted)

    async def drop(self, root: Cid) -> None:
        if is_cid(root):
            await self._on_disk(self._unlink, self._path(root))

    async def roots(self) -> Sequence[Cid]:
        return [_parts(name)[0] for name in await self._on_disk(self._own_packs)]

    async def _on_disk(self, function: Callable[..., T], *args: Any, missing: Collection[Cid] = ()) -> T:
        try:
            return await self.context.in_thread(function, *args)
        except OSError as error:
            raise Unavailable(in_words(error, self.folder), missing) from error

    def _path(self, root: Cid) -> Path:
        if not is_cid(root):
            raise ValueError(f"not a CID: {root!r}")
        return self.folder / f"{root}.{self._owner}"

    def _draft(self) -> Path:
        return self.folder / f"{_NEW}.{self._owner}.{secrets.token_hex(6)}"

    def _prepare(self) -> None:
        """Make the folder, and clear away what a crash or a power cut left of this peer, and long ago of others."""
        if self.options.path is None:
            self.context.meeting.mkdir(parents=True, exist_ok=True)
        make_folder(self.folder, parents=True)
        drafts = {path: _parts(path.name)[1].startswith(f"{self._owner}.") for path in self.folder.glob(f"{_NEW}.*")}
        now = None if all(drafts.values()) else self._now()
        for path, own in drafts.items():
            if own or (now is not None and age(path, now) > _ORPHAN_SECONDS):
                self._clear_away(path)
        for name in self._own_packs():
            if self._is_broken(name):
                self._clear_away(self.folder / name)

    def _now(self) -> float | None:
        """None where nobody knows how old the files of others are."""
        try:
            return now_by(self._draft())
        except OSError:
            return None

    async def _care(self, *, remove: bool = False) -> None:
        """Now and then, show that this peer is alive, and remove what those have left behind that are not. It stands before what it
        is called for, takes little of its time, and what goes wrong in it does not matter.
        """
        now = self.context.clock()
        if now < self._cares_at[remove]:
            return
        self._cares_at[remove] = now + _CARE_SECONDS
        begin = trio.current_time()
        with trio.CancelScope(deadline=begin + (trio.current_effective_deadline() - begin) * _CARE_PART):
            try:
                await self.context.in_thread(lambda: touch(self.folder / name for name in self._own_packs()))
                if remove:
                    await self._remove_abandoned()
            except OSError as error:
                self.context.log.debug("storage.no_care", folder=str(self.folder), cause=in_words(error, self.folder))

    async def _remove_abandoned(self) -> None:
        if (now := await self.context.in_thread(self._now)) is None:
            return
        days, removed = self.options.abandoned_days, 0
        steps = remove_abandoned(self.folder, self._owner, now - days * DAY, self.context.rng.random())
        try:
            while (more := await self.context.in_thread(next, steps, None)) is not None:
                removed += more
        finally:
            if removed:
                self.context.log.info("storage.abandoned", folder=str(self.folder), removed=removed, days=days)

    def _is_broken(self, name: str) -> bool:
        """Whether it was read and is no whole pack; what cannot be read now may still be one."""
        try:
            with Pack(self.folder / name) as pack:
                pack.index()
        except BrokenPackError as error:
            self._report(name, str(error))
            return True
        except OSError as error:
            self._report(name, error.strerror or str(error))
        return False

    def _clear_away(self, path: Path) -> None:
        """What a stranger has put there so that it cannot be removed is in nobody's way."""
        try:
            self._unlink(path)
        except OSError as error:
            self._report(path.name, error.strerror or str(error))

    def _unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        sync_folder(self.folder)

    def _packs(self) -> list[str]:
        return [path.name for path in self.folder.iterdir() if is_cid(_parts(path.name)[0])]

    def _own_packs(self) -> list[str]:
        return [name for name in self._packs() if _parts(name)[1] == self._owner]

    def _batches(self, cids: Sequence[Cid]) -> Generator[list[Block], None, None]:
        """The blocks that there are, some megabytes at a time, or none of them yet. Runs in threads, never in two at once."""
        left = dict.fromkeys(cids)
        for _ in range(_LOOKS):
            gone = False
            for count, name in enumerate(self._search_order(left), 1):
                try:
                    yield from self._from_pack(name, left)
                except FileNotFoundError:
                    gone = True  # dropped since the look: by now another root may name its blocks
                except OSError as error:  # one file that cannot be read does not hide the others
                    self._report(name, error.strerror or str(error))
                if not left:
                    return
                if count % _PACKS_AT_ONCE == 0:
                    yield []
            if not gone:
                return

    def _search_order(self, cids: Mapping[Cid, None]) -> list[str]:
        """Packs named after a wanted root first, then those that were read last."""
        names = self._packs()
        self._reported.intersection_update(names)
        return sorted(names, key=lambda name: (_parts(name)[0] not in cids, name not in self._indexes))

    def _from_pack(self, name: str, left: dict[Cid, None]) -> Iterator[list[Block]]:
        """Take out of `left` what this pack has, and yield it."""
        with Pack(self.folder / name) as pack:
            index = self._index(name, pack)
            blocks = (pack.read(cid, index[cid]) for cid in [cid for cid in left if cid in index])
            while batch := _take(blocks):
                sound = [block for block in batch if check(block)]
                if len(sound) < len(batch):
                    self._report(name, f"{len(batch) - len(sound)} damaged blocks")
                for block in sound:
                    del left[block.cid]
                if sound:
                    yield sound

    def _index(self, name: str, pack: Pack) -> Mapping[Cid, Place]:
        """The index of an open pack, remembered while the file stays the same; empty if the pack is broken."""
        index = self._indexes.find(name, pack.version)
        if index is None:
            try:
                index = pack.index()
            except BrokenPackError as error:
                self._indexes.forget(name)
                self._report(name, str(error))
                return {}
            self._indexes.keep(name, pack.version, index)
        return index

    def _report(self, name: str, problem: str) -> None:
        if name not in self._reported:
            self._reported.add(name)
            self.context.log.warning("storage.damaged", folder=str(self.folder), file=name, problem=problem)


def _owner(context: Context) -> str:
    """The peer, in the names of its files; in a private swarm something from which only members can tell the peer."""
    secret = context.secret("the owner of a file")
    return context.peer if secret is None else hmac.digest(secret, context.peer.encode(), "sha256").hex()


def _parts(name: str) -> tuple[Cid, str]:
    """The root and the owner that a pack's name says."""
    root, _, owner = name.partition(".")
    return Cid(root), owner


def _take(blocks: Iterator[Block]) -> list[Block]:
    """The next few megabytes of blocks."""
    batch, size = [], 0
    for block in blocks:
        batch.append(block)
        size += len(block.data)
        if size >= _BATCH_BYTES:
            break
    return batch
