"""Reads the pool by its path alone, as a worker of a DataLoader must: no link, no node, no lock.

A reader can be pickled: the copy opens everything anew. It maps a slice when its rows are first asked for, and keeps at most
`most_open` maps, each of which holds one descriptor (before Python 3.13).
"""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from learnae.data.pool_file import ReadIndex, read_index
from learnae.data.pool_index import MOST_SLICES, POOL, PooledSlice, mark_of, open_data
from learnae.data.schema import Schema
from learnae.data.slice_files import FileLayout, layout_of, map_tensors
from learnae.errors import UnavailableError
from learnae.identity.home_folder import HomeFolder
from learnae.records import Cid

MOST_OPEN = 256 if sys.version_info < (3, 13) else MOST_SLICES
"""A process may have some thousand descriptors; since Python 3.13 a map needs none."""

SHARE, SAVED_SECONDS = 0.05, 0.5

Columns = Mapping[str, np.ndarray[Any, Any]]
"""Columns by name, read-only; the first dimension of each is the rows."""


@attrs.define
class _TimeOfChanges:
    """A twentieth of the time, of which half a second is saved up: so long a training may be held up by changes of the pool."""

    _left: float = SAVED_SECONDS  # below 0 after a change that took longer
    _at: float | None = None

    def has(self, now: float) -> bool:
        self._left = min(SAVED_SECONDS, self._left + (now - (now if self._at is None else self._at)) * SHARE)
        self._at = now
        return self._left > 0

    def spend(self, seconds: float) -> None:
        self._left -= seconds


@attrs.define
class _Opened:
    """What a reader holds open."""

    stack: ExitStack
    data: HomeFolder
    mark: tuple[int, int, int] | None = None
    found: ReadIndex = attrs.field(factory=ReadIndex)


class PoolReader:
    """The slices in the pool of a home whose rows mean the same as those of `schema`, or all of them.

    `slices` is as of the last `refresh`, in the order in which they came: more come at the end, and some may go. `version` rises with each
    change. Not for several threads at once.
    """

    def __init__(self, home: Path, schema: Schema | None = None, *, most_open: int = MOST_OPEN) -> None:
        self.home, self.schema, self.most_open = home, schema, most_open
        self.slices: tuple[PooledSlice, ...] = ()
        self.version = 0
        self._opened: _Opened | None = None
        self._time = _TimeOfChanges()
        self._maps: OrderedDict[Cid, Columns] = OrderedDict()
        self._layouts: dict[Schema, dict[int, FileLayout]] = {}
        self._by_root: dict[Cid, PooledSlice] = {}

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.slices)

    def refresh(self) -> bool:
        """Look whether the pool has changed, and if so which slices there are. Without a change it costs one system call.

        However often others change it, a training loses no more than a twentieth of its time: what was spent on changes is waited for
        before the index is read again. One that has gone is seen at once all the same.

        Raises ConfigError for a home or an index that cannot be used, OSError.
        """
        opened = self._open()
        mark = mark_of(opened.data) if opened else None
        if opened and mark is None:  # perhaps the folder was moved away, and another one is there now
            self.close()
            opened = self._open()
            mark = mark_of(opened.data) if opened else None
        if opened is None or mark is None:
            return self._become(())
        began = time.monotonic()
        if mark == opened.mark or not self._time.has(began):
            return False
        found = opened.found = read_index(opened.data, opened.found)
        opened.mark = mark  # looked at before it was read: a change in between is seen the next time
        changed = self._become(found.index.slices if self.schema is None else _covered(self.schema, found.index.slices))
        self._time.spend(time.monotonic() - began)
        return changed

    def charge(self, seconds: float) -> None:
        """So long it took to make something of the last change: this counts as if the reader had taken it."""
        self._time.spend(seconds)

    def columns(self, root: Cid) -> Columns:
        """The columns of a slice, mapped into memory. What was mapped stays valid, also where the slice is removed meanwhile.

        Raises UnavailableError where the slice is gone, in which case a `refresh` is due, and ConfigError for a file that is not what
        it should be.
        """
        found = self._maps.get(root)
        if found is not None:
            self._maps.move_to_end(root)
            return found
        found = self._map(root)
        self._maps[root] = found
        while len(self._maps) > self.most_open:
            self._maps.popitem(last=False)
        return found

    def close(self) -> None:
        """Let go of the folder and of all maps; what was handed out stays valid. The next call opens them again."""
        if self._opened is not None:
            self._opened.stack.close()
            self._opened = None
        self._maps.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {"home": self.home, "schema": self.schema, "most_open": self.most_open}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc] # the copy is a new one: no descriptor outlives its process

    def __del__(self) -> None:
        if getattr(self, "_opened", None) is not None:
            self.close()

    def _become(self, slices: tuple[PooledSlice, ...]) -> bool:
        if slices == self.slices:
            return False
        self.slices = slices
        self._by_root = {one.root: one for one in slices}
        self.version += 1
        for root in self._maps.keys() - self._by_root.keys():
            del self._maps[root]
        return True

    def _open(self) -> _Opened | None:
        if self._opened is None:
            with ExitStack() as stack:
                try:
                    data = stack.enter_context(open_data(self.home, looking=True))
                except FileNotFoundError:
                    return None
                self._opened = _Opened(stack.pop_all(), data)
        return self._opened

    def _map(self, root: Cid) -> Columns:
        opened, one = self._open(), self._by_root.get(root)
        if opened is None or one is None:
            raise UnavailableError(f"the slice {root} is not in the pool of {self.home}", [root])
        try:
            with opened.data.subfolder(POOL) as files:
                return map_tensors(files, root, self._layout(one))
        except FileNotFoundError:
            raise UnavailableError(f"the slice {root} is no more in the pool of {self.home}", [root]) from None

    def _layout(self, one: PooledSlice) -> FileLayout:
        by_rows = self._layouts.setdefault(one.schema, {})
        if one.rows not in by_rows:
            tensors = {column.name: (column.dtype, (one.rows, *column.shape)) for column in one.schema.columns}
            by_rows[one.rows] = layout_of(tensors)
        return by_rows[one.rows]


def _covered(schema: Schema, slices: tuple[PooledSlice, ...]) -> tuple[PooledSlice, ...]:
    """Those whose rows mean the same as rows of this schema. Thousands of slices have few schemas."""
    fitting = {key for key, one in {id(one.schema): one.schema for one in slices}.items() if schema.covers(one)}
    return tuple(one for one in slices if id(one.schema) in fitting)
