"""What a peer gives away: its own rows in `data/own` of its home, where the trainer's process puts them by consent, and slices of readings
that it has gathered in `data/gathered`, where the node puts them. The node offers both.

Each slice is a file of its own, named after its root as it is without a seal. It is there whole or not at all. Beside them lies by which
consent they were put there: by another one nothing of them is given away.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from learnae.content.encryption import NO_ENCRYPTION, Encryption
from learnae.data.pool_index import MOST_SLICES, open_data
from learnae.data.schema import ABOUT
from learnae.data.slice_files import (
    draft_name,
    file_name,
    is_draft,
    publish_draft,
    read_tensors,
    remove,
    root_in,
    write_draft,
    write_tensors,
)
from learnae.data.slices import PackedSlice, SliceRows, pack_slice, rows_from, tensors_of
from learnae.errors import ConfigError, Problem, UnavailableError, UpdateRejectedError
from learnae.identity.home_folder import HomeFolder
from learnae.opening import replace_file
from learnae.records import Cid

OWN, GATHERED = "own", "gathered"
_CONSENT = "consent"
_MOST_CONSENT_BYTES = 64 << 10


def consent_of(*, most_rows: int | None, fraction: float | None, licence: str, source: str) -> bytes:
    """What a user's file says of the rows that it gives, as it lies beside them."""
    return json.dumps([most_rows, fraction, licence, source]).encode()


def rows_to_share(
    count: int,
    *,
    most_rows: int | None = None,
    fraction: float | None = None,
    seed: int = 0,
    labels: np.ndarray[Any, Any] | None = None,
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Which of so many rows are given away: at most so many, and at most this share, at random, in their order.

    The same seed chooses the same rows of the same number, so that a peer that starts again gives no others. Without a limit none is given.
    With `labels`, one for each row, each label gives the same part of its rows, up to rounding.
    """
    limits = [limit for limit in (most_rows, None if fraction is None else int(fraction * count)) if limit is not None]
    share = max(0, min([count, *limits])) if limits else 0
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    if labels is not None and count:
        order = order[np.argsort(labels[order], kind="stable")]  # those of a label behind one another
        _, first, kind, many = np.unique(labels[order], return_index=True, return_inverse=True, return_counts=True)
        reached = (np.arange(count) - first[kind] + 0.5) / many[kind]  # which part of its label is given with this row
        order = order[np.lexsort((rng.permutation(count), reached))]
    return np.sort(order[:share])


class OwnSlices:
    """The own slices in a home, or those in another folder of its data. All methods block, and raise ConfigError for a folder that cannot
    be used, and OSError."""

    def __init__(self, home: Path, folder: str = OWN) -> None:
        self._home, self._name = home, folder

    def add(self, one: SliceRows) -> Cid:
        """Give this one away as well. Returns its root."""
        root = pack_slice(one).packed.root
        with self._folder(make=True) as folder:
            write_tensors(folder, root, tensors_of(one))
        return root

    def remove(self, roots: Iterable[Cid]) -> None:
        """Give these away no more."""
        with self._folder(make=True) as folder:
            _remove(folder, roots)

    def replace(self, slices: Iterable[SliceRows], *, most_rows: int, consent: bytes = b"") -> tuple[Cid, ...]:
        """Let these be all that is given away, by this consent; the node goes on offering what was there and stays. Returns their roots.

        What goes is gone before anything new appears: never are there more than `most_rows`, not even if this process is killed.
        Raises ConfigError for more than these together, and for more than 8,192 slices: nothing has changed then.
        """
        kept: dict[Cid, None] = {}
        with self._folder(make=True) as folder:
            there, added, rows = set(_roots(folder)), list[Cid](), 0
            try:
                for one in slices:
                    rows += one.count
                    if rows > most_rows or len(kept) >= MOST_SLICES:
                        raise ConfigError(Problem("data", f"more than {most_rows:,} rows or {MOST_SLICES:,} slices to share", "give fewer"))
                    root = pack_slice(one).packed.root
                    if root not in there and root not in kept:
                        added.append(root)
                        write_draft(folder, root, tensors_of(one))
                    kept[root] = None
                same = _consent(folder) == consent
                if not same:
                    remove(folder, _CONSENT)  # until all are there that it is for, and no others
                _remove(folder, there - kept.keys())
                for root in added:
                    publish_draft(folder, root)
                if not same:
                    replace_file(_CONSENT, consent, at=folder.fd, durable=True)
            finally:
                for root in added:
                    remove(folder, draft_name(root))  # but for those that have their name now
            os.fsync(folder.fd)
        return tuple(kept)

    def clear(self) -> None:
        """Give nothing away any more, and remove what a process that was killed has left. What others have fetched they keep."""
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(self._folder())
            except FileNotFoundError:
                return
            remove(folder, _CONSENT)
            _remove(folder, _roots(folder))
            for name in _names(folder):
                if is_draft(name):
                    remove(folder, name)

    def roots(self) -> tuple[Cid, ...]:
        """The names of all own slices, in order; the same ones mean the same rows."""
        try:
            with self._folder() as folder:
                return tuple(_roots(folder))
        except FileNotFoundError:
            return ()

    def offered(self, consent: bytes) -> tuple[Cid, ...]:
        """The same, if they were put there by this consent; else none."""
        try:
            with self._folder() as folder:
                return tuple(_roots(folder)) if _consent(folder) == consent else ()
        except FileNotFoundError:
            return ()

    def load(self, root: Cid, encryption: Encryption = NO_ENCRYPTION) -> tuple[SliceRows, PackedSlice]:
        """One slice, and its blocks as they are offered: sealed, where the swarm is private, and then with another root.

        Raises UnavailableError where it is gone, ConfigError for a file that was changed.
        """
        try:
            with self._folder() as folder:
                tensors = read_tensors(folder, root)
        except FileNotFoundError:
            raise UnavailableError(f"the own slice {root} is gone", [root]) from None
        try:
            rows = rows_from({name: tensors[name] for name in sorted(tensors, key=lambda name: (name != ABOUT, name))})
            packed = pack_slice(rows)
        except UpdateRejectedError as error:
            raise self._changed(root, str(error)) from None
        if packed.packed.root != root:
            raise self._changed(root, "its rows are others")
        return rows, packed if encryption is NO_ENCRYPTION else pack_slice(rows, encryption)

    def _changed(self, root: Cid, why: str) -> ConfigError:
        place = self._home / "data" / self._name / file_name(root)
        return ConfigError(Problem(str(place), f"is not the slice that it was: {why}", "remove it, and start the training again"))

    @contextmanager
    def _folder(self, *, make: bool = False) -> Iterator[HomeFolder]:
        with open_data(self._home, make=make) as data, data.subfolder(self._name, make=make) as folder:
            yield folder


def _roots(folder: HomeFolder) -> list[Cid]:
    return sorted(root for name in _names(folder) if (root := root_in(name)) is not None)


def _consent(folder: HomeFolder) -> bytes | None:
    try:
        return folder.read(_CONSENT, _MOST_CONSENT_BYTES)
    except FileNotFoundError:
        return None


def _names(folder: HomeFolder) -> list[str]:
    with os.scandir(folder.fd) as entries:
        return [entry.name for entry in itertools.islice(entries, 2 * MOST_SLICES)]


def _remove(folder: HomeFolder, roots: Iterable[Cid]) -> None:
    for root in roots:
        remove(folder, file_name(root))
