"""`swarm.dataset(...)`: own rows and those of the pool as one torch Dataset, which grows while a training runs.

The pool is read by its path alone, so the workers of a DataLoader read it as well as the training process does, forked or spawned. A
key names a row: the number of an own one, or the root of a slice and the row in it. So a key means the same in each process, whatever it
has seen of the pool so far.
"""

from __future__ import annotations

import bisect
import resource
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from learnae.config.tables import DataTable
from learnae.data.about import count_labels, sketch_of
from learnae.data.own import OwnSlices, consent_of
from learnae.data.pool_reader import MOST_OPEN, Columns, PoolReader
from learnae.data.slices import make_slices
from learnae.data.trained_on import TrainedOn, tell
from learnae.errors import ConfigError, UnavailableError
from learnae.records import Cid
from learnae.trainer.loader import Key, RowBatches, SwarmLoader
from learnae.trainer.local_rows import LocalRows, local_rows, seed_of

MOST_SKETCHED = 4096
"""Own rows from which the sketch is made, at random."""


class SwarmDataset(Dataset[Any]):
    """Rows as samples in the form of `local`: tuples, tables or single tensors, through `transform` if there is one.

    Use `loader(batch_size)`: it keeps the share of foreign rows in each batch, sees new rows at once, and can go on where it was. A
    `DataLoader(dataset, shuffle=True)` works too: it gives each row once in an epoch, those of others that were there at its start.
    """

    def __init__(
        self,
        rows: LocalRows,
        reader: PoolReader | None,
        *,
        transform: Callable[[Any], Any] | None = None,
        foreign: float = 0.5,
        seed: int = 0,
    ) -> None:
        self.rows, self.foreign, self.seed = rows, foreign, seed
        self._reader, self.transform = reader, transform
        self._slices: tuple[tuple[Cid, int], ...] = ()
        self._seen: set[Cid] = set()  # all slices that were ever there: `_roots` in their order
        self._roots: list[Cid] = []
        self._ends: list[int] = []  # the number after the last row of each
        self.problem = ""
        self.replaced = 0
        self.batches(1)

    @property
    def schema(self) -> Any:
        """Columns of each row, by `learnae.data`."""
        return self.rows.schema

    def slices(self) -> tuple[tuple[Cid, int], ...]:
        """Root and number of rows of each slice that is in the pool now. The same object as long as nothing has changed.

        A pool that cannot be read counts as empty, and `problem` says why: training goes on with the own rows.
        """
        if self._reader is None:
            return ()
        try:
            changed = self._reader.refresh()
        except (ConfigError, OSError) as error:
            self.problem, self._slices = str(error), ()
            return ()
        if changed or self.problem:
            self.problem = ""
            self._slices = tuple((one.root, one.rows) for one in self._reader.slices)
            for root, rows in self._slices:
                if root not in self._seen:
                    self._seen.add(root)
                    self._ends.append(self._last + rows)
                    self._roots.append(root)
        return self._slices

    def charge(self, seconds: float) -> None:
        """So long it took to make something of the last change of `slices`: the next one waits until that is a twentieth of the time."""
        if self._reader is not None:
            self._reader.charge(seconds)

    @property
    def _last(self) -> int:
        return self._ends[-1] if self._ends else self.rows.count

    def loader(
        self, batch_size: int = 1, *, shuffle: bool = True, drop_last: bool = False, foreign: float | None = None, **more: Any
    ) -> SwarmLoader:
        """A DataLoader of batches in which `foreign` of the rows are those of others, as soon as there are enough. `more` goes to it.

        An epoch is one pass over the own rows. A row of others comes again only after all of them have come.
        """
        return SwarmLoader(self, self.batches(batch_size, shuffle=shuffle, drop_last=drop_last, foreign=foreign), **more)

    def batches(self, batch_size: int, *, shuffle: bool = True, drop_last: bool = False, foreign: float | None = None) -> RowBatches:
        """What `loader` draws from, for a DataLoader of your own: `DataLoader(dataset, batch_sampler=dataset.batches(64))`."""
        share = self.foreign if foreign is None else foreign
        return RowBatches(self, batch_size, foreign=share, shuffle=shuffle, drop_last=drop_last, seed=self.seed)

    def __len__(self) -> int:
        self.slices()
        return self._last

    def __getitem__(self, key: Key) -> Any:
        if isinstance(key, int) and not 0 <= key < self.rows.count and not 0 <= key < len(self):
            raise IndexError(key)
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[Any]:
        """The samples of a batch. A row that has left the pool since it was drawn is replaced by an own one that is not in the batch."""
        parts = zip(*(part.unbind(0) for part in self.batch(keys)), strict=True)
        samples = [self.rows.form.make(part) for part in parts]
        return samples if self.transform is None else [self.transform(sample) for sample in samples]

    def batch(self, keys: Sequence[Key]) -> list[torch.Tensor]:
        """The parts of these rows, each as one tensor, before any transform."""
        self.slices()
        own: list[tuple[int, int]] = []
        found: list[tuple[int, Columns, int]] = []
        gone: list[int] = []
        for place, key in enumerate(keys):
            if isinstance(key, int) and key < self.rows.count:
                own.append((place, key))
                continue
            root, row = self._named(key)
            columns = self._columns(root)
            if columns is None:
                gone.append(place)
            else:
                found.append((place, columns, row))
        if gone:
            own += self._instead(gone, own)
        columns = self._gathered(len(keys), own, found)
        return [torch.from_numpy(columns[name]) for name in self.rows.form.names]

    def _named(self, key: Key) -> tuple[Cid | None, int]:
        if not isinstance(key, int):
            return key
        at = bisect.bisect_right(self._ends, key)
        if at == len(self._ends):
            return None, 0  # of a slice that has come and gone before this process has seen it
        return self._roots[at], key - (self._ends[at - 1] if at else self.rows.count)

    def _columns(self, root: Cid | None) -> Columns | None:
        try:
            return None if root is None or self._reader is None else self._reader.columns(root)
        except (UnavailableError, ConfigError, OSError):
            return None

    def _instead(self, places: Sequence[int], own: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        self.replaced += len(places)
        taken, number, made = {number for _, number in own}, own[-1][1] if own else 0, []
        for place in places:
            for _ in range(self.rows.count):
                number = (number + 1) % self.rows.count
                if number not in taken:
                    break
            taken.add(number)
            made.append((place, number))
        return made

    def _gathered(self, count: int, own: Sequence[tuple[int, int]], found: Sequence[tuple[int, Columns, int]]) -> Mapping[str, Any]:
        local = self.rows.read(np.array([number for _, number in own], np.int64))
        if len(own) == count and own == sorted(own):  # each stands at its place
            return local
        places, columns = [place for place, _ in own], {}
        for column in self.rows.schema.columns:
            columns[column.name] = gathered = np.empty((count, *column.shape), column.dtype)
            gathered[places] = local[column.name]
            for place, arrays, row in found:
                gathered[place] = arrays[column.name][row]
        return columns


def make_dataset(
    local: Any,
    home: Path,
    data: DataTable,
    *,
    peer: str,
    transform: Callable[[Any], Any] | None = None,
    foreign: float = 0.5,
    label: str | None = None,
    labels: Collection[Any] | None = None,
    words: Mapping[str, Sequence[str]] | None = None,
) -> SwarmDataset:
    """The dataset of a peer. By consent its rows are put where the node takes them from; without it what lay there is removed.

    Raises ConfigError for rows that cannot be columns, and OSError.
    """
    rows, seed = local_rows(local, label=label, words=words), seed_of(peer)
    dataset = SwarmDataset(
        rows,
        PoolReader(home, rows.schema, most_open=_most_open()) if data.accept_bytes else None,
        transform=transform,
        foreign=foreign,
        seed=seed,
    )
    if data.share == "slices":
        share(rows, home, data, peer=peer)
    else:
        OwnSlices(home).clear()
    if data.accept_bytes:
        tell(home, _trained_on(rows, labels, seed))
    return dataset


def _most_open() -> int:
    """Half of the descriptors that a process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 4 * MOST_OPEN if soft == resource.RLIM_INFINITY else min(max(soft // 2, 1), 4 * MOST_OPEN)


def share(rows: LocalRows, home: Path, data: DataTable, *, peer: str) -> tuple[Cid, ...]:
    """Make slices of at most so many own rows as the file says, of each label its part, and put them into `data/own`.

    What was given before is given first, and counts also where it is there no more (`OwnSlices.choose`). Returns the roots. Raises
    ConfigError, OSError.
    """
    own = OwnSlices(home)
    numbers = own.choose(rows.ids(peer), most_rows=data.share_rows, fraction=data.share_fraction, labels=rows.labels())
    if not len(numbers):
        own.clear()
        return ()
    slices = make_slices(rows.read(numbers), rows.schema, licence=data.licence, source=data.source)
    consent = consent_of(most_rows=data.share_rows, fraction=data.share_fraction, licence=data.licence, source=data.source)
    return own.replace(slices, most_rows=len(numbers), consent=consent)


def _trained_on(rows: LocalRows, known: Collection[Any] | None, seed: int) -> TrainedOn:
    some = np.random.default_rng(seed).permutation(rows.count)[:MOST_SKETCHED]
    labels = rows.labels()
    return TrainedOn(
        schema=rows.schema,
        rows=rows.count,
        labels={} if labels is None or rows.schema.label is None else count_labels({rows.schema.label: labels}, rows.schema),
        known_labels=None if known is None else tuple(map(str, known)),
        sketch=sketch_of(rows.read(np.sort(some)), rows.schema),
    )
