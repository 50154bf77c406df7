"""Searches a shared folder for blocks. Anybody may have added files there, so the search is bounded and fair.

First come the packs that gave something before, and those whose whole name is known: of a wanted root, and the owner that the announcing
peer named. They need no listing: what else lies in the folder costs them nothing. Of the rest, packs of that owner come first, then those
that are named after a wanted root, the oldest first, since who copies the name of an announced root comes later; then the newest. Files
of all users of the machine take turns. Of the indexes of all these some megabytes are read, and large ones last.

A file with many names (hard links) is read once, whatever it is called. It isn't left out: were it, anybody could hide a file who can
give it another name. It comes after those of its user that have one.
"""

from __future__ import annotations

import math
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import attrs

from learnae.content.cids import check
from learnae.opening import look
from learnae.plugins.directory.packs import BrokenPackError, Pack, Place, is_cid, pack_name, parts
from learnae.records import MEGABYTE, Block, Cid
from learnae.shared_folder import in_turns

INDEXES = 8
ENTRIES = 1 << 16  # blocks in all of them together

Index = Mapping[Cid, Place]


class Indexes:
    """Of each file the index in the version that was read; those read longest ago are forgotten."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[object, Index]] = OrderedDict()
        self._lock = threading.Lock()  # each read runs in a thread of its own, and several at once

    def names(self) -> list[str]:
        """Of the files whose indexes are kept, those that were read last first."""
        with self._lock:
            return list(reversed(self._kept))

    def find(self, name: str, version: object) -> Index | None:
        """None where it is not known in this version."""
        with self._lock:
            known, index = self._kept.get(name, (None, {}))
            if known != version:
                return None
            self._kept.move_to_end(name)
            return index

    def keep(self, name: str, version: object, index: Index) -> None:
        with self._lock:
            self._kept[name] = version, index
            self._kept.move_to_end(name)
            while len(self._kept) > INDEXES or (len(self._kept) > 1 and self._entries() > ENTRIES):
                self._kept.popitem(last=False)

    def forget(self, name: str) -> None:
        with self._lock:
            self._kept.pop(name, None)

    def _entries(self) -> int:
        return sum(len(index) for _, index in self._kept.values())


BATCH_BYTES = 8 * MEGABYTE  # what one call in a thread reads or writes: as long as a cancellation may have to wait
PACKS_AT_ONCE, INDEX_BYTES_AT_ONCE = 64, MEGABYTE  # looked into, and read, in one call in a thread
LARGE_INDEX_BYTES = MEGABYTE  # 16,000 blocks: updates of 2 GB
STRANGE_INDEX_BYTES = 16 * MEGABYTE  # of small ones, and of large ones as much, in one search
MOST_LISTED = 200_000  # names of packs that are taken from a listing
MOST_STRANGE = 20_000  # packs looked at and into in one search
LISTED_AT_ONCE = 5_000  # in one call in a thread
STEP = 250  # looked at in one call in a thread: 0.1 s on a slow network share
FEW = 16  # wanted blocks that are looked for in an index before it is parsed


@attrs.define
class ReadBudget:
    """How much of strangers' indexes may still be read; those above `largest` are postponed."""

    largest: float
    left: int = STRANGE_INDEX_BYTES
    postponed: list[str] = attrs.field(factory=list)

    def allows(self, name: str, size: int) -> bool:
        if size > self.largest:
            self.postponed.append(name)
        if size > min(self.largest, self.left):
            return False
        self.left -= size
        return True


@attrs.define
class BlockSearch:
    """One look through the folder `at` for what is `left`, out of which it takes what it yields. Runs in threads, never in two at once.

    What it yields are blocks, some megabytes at a time, or none of them yet.
    """

    at: int
    left: dict[Cid, None]
    indexes: Indexes
    report: Callable[[str, str], None]
    start: float = 0.0  # from 0 to 1: where among too many names it begins
    gone: bool = False  # whether a file went between listing and look: by now another root may name its blocks
    _seen: set[tuple[int, int]] = attrs.field(factory=set)
    _packs: int = 0
    _index_bytes: int = 0

    def expected(self, owners: Collection[str]) -> Iterator[list[Block]]:
        """In packs whose names are known without a listing."""
        roots = [cid for cid in islice(self.left, FEW) if is_cid(cid)]
        yield from self._through([*self.indexes.names(), *(pack_name(root, owner) for root in roots for owner in owners)])
        self.gone = False  # that one of these is not there says nothing

    def others(self, names: Iterable[str], owners: Collection[str]) -> Iterator[list[Block]]:
        """In those that a listing of the folder named."""
        budget = ReadBudget(LARGE_INDEX_BYTES)
        order = yield from self._order(names, owners)
        yield from self._through(order, budget)
        yield from self._through(budget.postponed, ReadBudget(math.inf))

    def _order(self, names: Iterable[str], owners: Collection[str]) -> Generator[list[Block], None, list[str]]:
        """The best first, of no more than may be looked at. What a name says needs no look, and a network share takes long for one."""
        ranks: list[list[str]] = [[], [], [], []]
        for count, name in enumerate(names, 1):
            if said := parts(name):
                ranks[2 * (said[1] not in owners) + (said[0] not in self.left)].append(name)
            if sum(map(len, ranks)) >= MOST_LISTED:
                break
            if count % LISTED_AT_ONCE == 0:
                yield []
        order: list[str] = []
        looks = 0
        for rank, sign in zip(ranks, (1, -1, 1, -1), strict=True):  # after a wanted root the oldest first, else the newest
            first = int(self.start * len(rank))
            files: dict[str, os.stat_result] = {}
            for name in [*rank[first:], *rank[:first]][: MOST_STRANGE - looks]:
                if (found := look(name, at=self.at)) is None:
                    self.gone = True
                elif stat.S_ISREG(found.st_mode):
                    files[name] = found
                looks += 1
                if looks % STEP == 0:
                    yield []
            ordered = sorted(files, key=lambda name: (files[name].st_nlink > 1, sign * files[name].st_ctime_ns))  # at once
            order.extend(in_turns(ordered, lambda name: files[name].st_uid))  # noqa: B023
        return order

    def _through(self, names: Sequence[str], budget: ReadBudget | None = None) -> Iterator[list[Block]]:
        for name in names:
            if not self.left:
                return
            try:
                yield from self._from_pack(name, budget)
            except FileNotFoundError:
                self.gone = True
            except BrokenPackError as error:
                self.indexes.forget(name)
                self.report(name, str(error))
            except OSError as error:  # one file that cannot be read does not hide the others
                self.report(name, error.strerror or str(error))
            self._packs += 1
            if self._packs >= PACKS_AT_ONCE or self._index_bytes >= INDEX_BYTES_AT_ONCE:
                self._packs = self._index_bytes = 0
                yield []

    def _from_pack(self, name: str, budget: ReadBudget | None) -> Iterator[list[Block]]:
        """Take out of `left` what this pack has, and yield it; only an index that gave something is remembered."""
        with Pack(name, at=self.at) as pack:
            if pack.file in self._seen:
                return
            known = self.indexes.find(name, pack.version)
            if known is None and budget is not None and not budget.allows(name, pack.index_bytes()):
                return
            self._seen.add(pack.file)
            index = self._index(pack) if known is None else known
            blocks = (pack.read(cid, index[cid]) for cid in [cid for cid in self.left if cid in index])
            while batch := take(blocks):
                sound = [block for block in batch if check(block)]
                if len(sound) < len(batch):
                    self.report(name, f"{len(batch) - len(sound)} damaged blocks")
                for block in sound:
                    del self.left[block.cid]
                if sound:
                    self.indexes.keep(name, pack.version, index)
                    yield sound

    def _index(self, pack: Pack) -> Index:
        self._index_bytes += pack.index_bytes()
        return pack.index(self.left if len(self.left) <= FEW else None)


def take(blocks: Iterator[Block]) -> list[Block]:
    """The next few megabytes of blocks."""
    batch, size = [], 0
    for block in blocks:
        batch.append(block)
        size += len(block.data)
        if size >= BATCH_BYTES:
            break
    return batch
