"""What a peer gives away: its own rows in `data/own` of its home, where the trainer's process puts them by consent, and slices of readings
that it has gathered in `data/gathered`, where the node puts them. The node offers both.

Each slice is a file of its own, named after its root as it is without a seal. It is there whole or not at all. Beside them lies by which
consent they were put there: by another one nothing of them is given away. `data/given` holds 64 bits of each own row that was ever given,
since a limit that is counted anew in each run is none where the data grow.
"""

from __future__ import annotations

import hashlib
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
from learnae.data.schema import ABOUT, MOST_ROWS, Column, Rows, Schema
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

OWN, GATHERED, GIVEN = "own", "gathered", "given"
ID_BYTES = 8
MOST_GIVEN_BYTES = MOST_SLICES * MOST_ROWS * ID_BYTES
"""Of the record of all rows that were ever given."""
IdArray = np.ndarray[tuple[int], np.dtype[np.uint64]]
_CONSENT = "consent"
_MOST_CONSENT_BYTES = 64 << 10


def consent_of(*, most_rows: int | None, fraction: float | None, licence: str, source: str) -> bytes:
    """What a user's file says of the rows that it gives, as it lies beside them."""
    return json.dumps([most_rows, fraction, licence, source]).encode()


def row_ids(rows: Rows, schema: Schema, peer: str) -> IdArray:
    """For each row 64 bits of its content, by the peer's key: the same row has the same ones wherever it stands, and in each run.

    Columns go in the order of their names, little-endian; text goes as text, since its codes depend on the other rows.
    """
    key = hashlib.sha256(f"learnae/given/1 {peer}".encode()).digest()
    count = len(rows[schema.columns[0].name])
    parts = [_row_bytes(rows[column.name], column, count) for column in schema.columns]
    hashed = b"".join(hashlib.blake2b(row, digest_size=ID_BYTES, key=key).digest() for row in np.concatenate(parts, axis=1))
    return np.frombuffer(hashed, "<u8").astype(np.uint64)


def _row_bytes(array: np.ndarray[Any, Any], column: Column, count: int) -> np.ndarray[Any, Any]:
    if column.words is not None:
        words = [hashlib.sha256(word.encode()).digest()[:ID_BYTES] for word in column.words] or [b"\0" * ID_BYTES]
        array = np.frombuffer(b"".join(words), "<u8").take(array, mode="clip")
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.reshape(count, -1).view(np.uint8)


def distinct(ids: IdArray) -> IdArray:
    """The same, but rows that are equal are told apart: the second of them has bits of its own, and so on."""
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ids) else np.zeros(0, np.int64)
    nth = np.arange(len(ids)) - np.repeat(first, np.diff(np.r_[first, len(ids)]))
    told = ids.copy()
    told[order] += nth.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # modulo 2**64; an odd number
    return told


def rows_to_share(
    ids: IdArray,
    *,
    most_rows: int | None = None,
    fraction: float | None = None,
    given: IdArray | None = None,
    labels: np.ndarray[Any, Any] | None = None,
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Which of these rows are given away: at most so many, and at most this share of them, in their order.

    `given` are the ids of all that were ever given: those come first, and count also where they are here no more. The others are ranked
    by their ids, as random as these are. Without a limit none is given. With `labels`, one for each row, each label gives the same part of
    its rows, up to rounding, as far as those that were given before allow it.
    """
    count = len(ids)
    before = np.isin(ids, given) if given is not None and len(given) else np.zeros(count, bool)
    limit = most_to_share(count, most_rows=most_rows, fraction=fraction)
    share = min(limit, int(before.sum()) + max(0, limit - (0 if given is None else len(given))))
    order = np.lexsort((ids, ~before))
    if labels is not None and count:
        order = order[np.argsort(labels[order], kind="stable")]  # those of a label behind one another
        _, first, kind, many = np.unique(labels[order], return_index=True, return_inverse=True, return_counts=True)
        reached = (np.arange(count) - first[kind] + 0.5) / many[kind]  # which part of its label is given with this row
        order = order[np.lexsort((ids[order], reached, ~before[order]))]
    return np.sort(order[:share])


def most_to_share(count: int, *, most_rows: int | None, fraction: float | None) -> int:
    """Of so many rows, where there are no limits but these; without any none."""
    limits = [limit for limit in (most_rows, None if fraction is None else int(fraction * count)) if limit is not None]
    return max(0, min([count, *limits])) if limits else 0


class OwnSlices:
    """The own slices in a home, or those in another folder of its data. All methods block, and raise ConfigError for a folder that cannot
    be used, and OSError."""

    def __init__(self, home: Path, folder: str = OWN) -> None:
        self._home, self._name = home, folder

    def choose(
        self, ids: IdArray, *, most_rows: int | None, fraction: float | None, labels: np.ndarray[Any, Any] | None = None
    ) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The numbers of the rows to give away by these limits, which hold for all that is ever given from this home. They count as given
        from now on: the record is on the disk before any of them is offered.

        `ids` are those of `row_ids`. Raises ConfigError for a record that is damaged.
        """
        ids = distinct(ids)
        with open_data(self._home, make=True) as data:
            given = _given(data)
            numbers = rows_to_share(ids, most_rows=most_rows, fraction=fraction, given=given, labels=labels)
            known = np.union1d(given, ids[numbers])
            if len(known) > len(given):
                replace_file(GIVEN, known.astype("<u8").tobytes(), at=data.fd, durable=True)
        return numbers

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


def _given(data: HomeFolder) -> IdArray:
    try:
        content = data.read(GIVEN, MOST_GIVEN_BYTES)
    except FileNotFoundError:
        content = b""
    if len(content) % ID_BYTES:
        remedy = "bring it back from a copy; who removes it lets others of the rows be given"
        raise ConfigError(Problem(str(data.path / GIVEN), "is damaged: it says which rows were ever given", remedy))
    return np.frombuffer(content, "<u8").astype(np.uint64)


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
