"""The pool: rows of other peers, checked, in the home of this one. `data/pool` has a file for each slice, `data/pool.json` says which
count.

A file is complete before the index names it, and goes only after the index names it no more. So whoever is killed leaves a pool that
can be read, and at most files that nobody names, which `clean` removes. One process changes the pool at a time, by a lock on
`data/pool.lock`.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from learnae.data.pool_file import ReadIndex, add_line, change_line, read_index, write_index
from learnae.data.pool_index import (
    MOST_ENTRY_BYTES,
    MOST_FORGOTTEN,
    MOST_PROVIDERS,
    MOST_SLICES,
    POOL,
    PooledSlice,
    PoolIndex,
    entry_bytes,
    fits,
    open_data,
)
from learnae.data.slice_files import file_name, is_draft, layout_of, remove, root_in, write_tensors
from learnae.data.slices import SliceRows
from learnae.errors import UnavailableError, UpdateRejectedError
from learnae.identity.home_folder import HomeFolder
from learnae.records import Cid, PeerId

_LOCK = "pool.lock"
_LOCK_SECONDS = 30.0
_RETRY_SECONDS = 0.01
_MOST_LOOKED_AT = 4 * MOST_SLICES


@attrs.frozen
class PoolUsage:
    """What lies in the pool, and what of it came from each provider."""

    slices: int
    rows: int
    bytes: int
    bytes_by_provider: Mapping[PeerId, int]


@attrs.frozen
class PoolAdmission:
    """What became of a slice: `kept` is whether it is in the pool now, `reason` says why not, `evicted` what went to make room for it."""

    kept: bool
    evicted: tuple[Cid, ...] = ()
    reason: str = ""


class Pool:
    """Changes the pool of a home. Each method blocks, for as long as it takes to write a slice to the disk.

    All raise ConfigError for a home that cannot be used or an index that is damaged, OSError, and UnavailableError where another
    process changes the pool for longer than 30 seconds.
    """

    def __init__(self, home: Path, quota_bytes: int) -> None:
        self._home, self._quota = home, quota_bytes
        self._read = ReadIndex()  # what this process has seen last

    def add(self, root: Cid, rows: SliceRows, provider: PeerId) -> PoolAdmission:
        """Keep a slice that `learnae.data.fitting.fit` has let pass. Where it is there already, only its provider is noted.

        Where the quota is full, the oldest slice goes that came from the provider with the most bytes, and again, until there is room.
        Where there are too many slices, or too much is said of them, it is that of the provider who has most of that.
        The new slice counts for its provider before: so who sends much displaces itself alone. Raises UpdateRejectedError("forgotten")
        for the slice of such a peer.
        """
        with self._changing() as (data, index):
            if provider in index.forgotten:
                raise UpdateRejectedError("forgotten", "what this peer offers is refused, since somebody has typed learnae data forget")
            known = next((one for one in index.slices if one.root == root), None)
            if known is not None:
                _write_noted(data, index, {root: (provider,)})
                return PoolAdmission(True)
            schemas = {id(one.schema): one.schema for one in index.slices}
            new = _described(root, rows, provider)
            going = _to_evict((*index.slices, new), self._quota, self._read.said + entry_bytes(new))
            if new in going:
                return PoolAdmission(
                    False, reason=f"its {new.bytes:,} bytes have no place in accept_bytes, or it none among so many slices"
                )
            # rows in fewer words mean the same in more of them: so there are few lists of words, however often this peer learns one
            fewer = {key for key, schema in schemas.items() if schema != new.schema and new.schema.covers(schema)}
            line = None if fewer else change_line(self._read, new, going)
            staying = (attrs.evolve(one, schema=new.schema) if id(one.schema) in fewer else one for one in _without(index.slices, going))
            after = index if line else attrs.evolve(index, slices=(*staying, new))
            if not (line or fits(after)):
                return PoolAdmission(False, reason="the pool has as many slices as it may")
            with data.subfolder(POOL, make=True) as files:
                write_tensors(files, root, rows.columns)
                self._read = add_line(data, self._read, line) if line else write_index(data, after)
                _remove(files, going)
            return PoolAdmission(True, tuple(one.root for one in going))

    def note(self, givers: Mapping[Cid, Collection[PeerId]]) -> None:
        """Note who else offers slices that are here, all in one change: `forget` leaves what another one gives as well."""
        with self._changing() as (data, index):
            _write_noted(data, index, givers)

    def forget(self, peer: PeerId) -> tuple[Cid, ...]:
        """Remove what only this peer has offered, and refuse from now on what it offers. Returns what went."""
        with self._changing() as (data, index):
            going = tuple(one for one in index.slices if set(one.providers) == {peer})
            slices = tuple(
                attrs.evolve(one, providers=tuple(other for other in one.providers if other != peer))
                for one in _without(index.slices, going)
            )
            forgotten = (*(other for other in index.forgotten if other != peer), peer)[-MOST_FORGOTTEN:]
            write_index(data, PoolIndex(slices, forgotten))
            with data.subfolder(POOL, make=True) as files:
                _remove(files, going)
            return tuple(one.root for one in going)

    def allow(self, peer: PeerId) -> None:
        """Take back what `forget` refuses."""
        with self._changing() as (data, index):
            write_index(data, attrs.evolve(index, forgotten=tuple(other for other in index.forgotten if other != peer)))

    def clean(self) -> tuple[Cid, ...]:
        """Remove what a process that was killed has left, entries whose file is gone, and what is beyond the quota. Returns the roots of
        what went.

        For a node that starts.
        """
        with self._changing() as (data, index), data.subfolder(POOL, make=True) as files:
            there = tuple(one for one in index.slices if _is_there(files, one))
            after = attrs.evolve(index, slices=_without(there, _to_evict(there, self._quota, self._read.said)))
            if after != index:
                write_index(data, after)
            named = {one.root for one in after.slices}
            with os.scandir(files.fd) as entries:
                names = [entry.name for entry in itertools.islice(entries, _MOST_LOOKED_AT)]
            for name in names:
                if is_draft(name) or ((root := root_in(name)) is not None and root not in named):
                    remove(files, name)
            return tuple(one.root for one in index.slices if one.root not in named)

    def index(self) -> PoolIndex:
        """All that is in it, and who is refused. Makes nothing where there is no pool."""
        try:
            with open_data(self._home, looking=True) as data:
                found = self._read = read_index(data, self._read)
                return found.index
        except FileNotFoundError:
            return PoolIndex()

    def entries(self) -> tuple[PooledSlice, ...]:
        """All slices, in the order in which they came."""
        return self.index().slices

    def usage(self) -> PoolUsage:
        """Sums over all slices."""
        index = self.index()
        return PoolUsage(len(index.slices), sum(one.rows for one in index.slices), index.bytes, index.bytes_by_provider())

    @contextmanager
    def _changing(self) -> Iterator[tuple[HomeFolder, PoolIndex]]:
        with open_data(self._home, make=True) as data, _locked(data):
            self._read = read_index(data, self._read)
            yield data, self._read.index


def _write_noted(data: HomeFolder, index: PoolIndex, givers: Mapping[Cid, Collection[PeerId]]) -> None:
    """Up to as many providers as a slice may have."""
    slices = []
    for one in index.slices:
        more = [peer for peer in givers.get(one.root, ()) if peer not in (*one.providers, *index.forgotten)]
        slices.append(attrs.evolve(one, providers=(*one.providers, *more)[:MOST_PROVIDERS]) if more else one)
    if tuple(slices) != index.slices:
        write_index(data, attrs.evolve(index, slices=tuple(slices)))


def _described(root: Cid, rows: SliceRows, provider: PeerId) -> PooledSlice:
    about = rows.about
    return PooledSlice(
        root=root,
        schema=rows.schema,
        rows=rows.count,
        bytes=layout_of({name: (array.dtype.name, array.shape) for name, array in rows.columns.items()}).size,
        labels=dict(about.labels),
        licence=about.licence,
        source=about.source,
        providers=(provider,),
    )


def _to_evict(slices: tuple[PooledSlice, ...], quota: int, said: int) -> tuple[PooledSlice, ...]:
    """Which slices go so that the rest has at most `quota` bytes and fits into an index; `said` is what their entries take.

    Of whatever there is too much, the oldest goes of the provider who has most of it, again and again.
    """
    if sum(map(_bytes_of, slices)) <= quota and len(slices) <= MOST_SLICES and said <= MOST_ENTRY_BYTES:
        return ()
    left: dict[PeerId, list[PooledSlice]] = {}
    for one in reversed(slices):
        left.setdefault(one.providers[0], []).append(one)  # the oldest last
    going = []
    for measure, most in ((_bytes_of, quota), (_one, MOST_SLICES), (entry_bytes, MOST_ENTRY_BYTES)):
        held = {peer: sum(map(measure, several)) for peer, several in left.items()}
        total = sum(held.values())
        while total > most:
            largest = max(held, key=lambda peer: (held[peer], peer))
            one = left[largest].pop()
            held[largest] -= measure(one)
            total -= measure(one)
            going.append(one)
    return tuple(going)


def _bytes_of(one: PooledSlice) -> int:
    return one.bytes


def _one(one: PooledSlice) -> int:
    return 1


def _without(slices: Sequence[PooledSlice], going: Sequence[PooledSlice]) -> tuple[PooledSlice, ...]:
    roots = {one.root for one in going}
    return tuple(one for one in slices if one.root not in roots)


def _is_there(files: HomeFolder, one: PooledSlice) -> bool:
    found = files.look(file_name(one.root))
    return found is not None and found.st_size == one.bytes


def _remove(files: HomeFolder, going: tuple[PooledSlice, ...]) -> None:
    for one in going:
        remove(files, file_name(one.root))


@contextmanager
def _locked(data: HomeFolder) -> Iterator[None]:
    """The lock belongs to the open file: who is killed leaves none behind."""
    descriptor = data.open(_LOCK, os.O_RDWR | os.O_CREAT)
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise UnavailableError(f"another process has been changing {data.path / POOL} for {_LOCK_SECONDS:.0f} seconds; try again")
            time.sleep(_RETRY_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
