"""Rows that a peer gives without training on them: from arrays or files, as many as its owner consents to."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from learnae.data.own import OwnSlices, consent_of, rows_to_share
from learnae.data.reading import Chunk, Source, TableOptions, pick_rows, read_chunks
from learnae.data.slices import SliceRows, make_slices
from learnae.errors import ConfigError, Problem

LABEL = "label"
_NAMES: Mapping[int, tuple[str, ...]] = {1: ("features",), 2: ("features", LABEL)}
_FORMS = (
    "return columns by name {name: array}, one array of all rows (numpy.array(rows) of a list), the tuple (features, label) of arrays, "
    "or the path of a CSV, Parquet or npz file"
)


@attrs.frozen(kw_only=True)
class GivenRows:
    """What a peer gives of its rows: at most so many, and at most this share of them. `label` is the column that is to be predicted."""

    most_rows: int | None = None
    fraction: float | None = None
    licence: str
    source: str = ""
    label: str | None = None


def give(rows: Any, home: Path, rules: GivenRows, *, peer: str, folder: Path) -> int:
    """Make slices of at most so many of these rows as the rules say, of each label its part, and put them into `data/own`.

    `rows` is what the user's function has returned; a path starts at `folder`. The same rows are given in each run, as long as their
    number stays. Returns how many. Raises ConfigError for what cannot be rows, OSError.
    """
    source = _source(rows, folder)
    options = TableOptions(label=_label(source, rules))
    count, labels = _counted(source, options)
    seed = zlib.crc32(peer.encode())
    numbers = rows_to_share(count, most_rows=rules.most_rows, fraction=rules.fraction, seed=seed, labels=labels)
    consent = consent_of(most_rows=rules.most_rows, fraction=rules.fraction, licence=rules.licence, source=rules.source)
    OwnSlices(home).replace(_slices(pick_rows(read_chunks(source, options), numbers), rules), most_rows=len(numbers), consent=consent)
    return len(numbers)


def _slices(chunks: Iterator[Chunk], rules: GivenRows) -> Iterator[SliceRows]:
    for chunk in chunks:
        yield from make_slices(chunk.rows, chunk.schema, licence=rules.licence, source=rules.source)


def _source(rows: Any, folder: Path) -> Source:
    if isinstance(rows, str | Path):
        path = folder / rows
        return _unpacked(path) if path.suffix == ".npz" else path
    if isinstance(rows, Mapping):
        return {str(name): np.asarray(column) for name, column in rows.items()}
    parts = rows if isinstance(rows, tuple) else (rows,)
    if isinstance(rows, list) or len(parts) not in _NAMES or any(isinstance(part, list | tuple) for part in parts):
        raise _unclear(f"a {type(rows).__name__} of {len(rows)}, which may be rows or columns")
    arrays = [np.asarray(part) for part in parts]
    if any(not array.ndim or array.dtype.hasobject for array in arrays):
        raise _unclear(f"{type(rows).__name__}, which holds no rows")
    if len(arrays) == 2 and arrays[0].ndim == 1:
        raise _unclear("a pair of which the first has one dimension, so the two may be rows")
    return dict(zip(_NAMES[len(arrays)], arrays, strict=True))


def _unclear(what: str) -> ConfigError:
    """Nothing is guessed: rows that are taken for columns would give away a part of all of them."""
    return ConfigError(Problem("data.entry", f"returned {what}", _FORMS))


def _unpacked(path: Path) -> Source:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as error:
        raise ConfigError(Problem("data.entry", f"{path} cannot be read: {error}", _FORMS)) from error


def _label(source: Source, rules: GivenRows) -> str | None:
    """The column that the file names, else the one called "label", where there is one."""
    if rules.label is not None:
        return rules.label
    columns: Sequence[str] = tuple(source) if isinstance(source, Mapping) else _columns(source)
    return LABEL if LABEL in columns else None


def _columns(source: Source) -> tuple[str, ...]:
    first = next(read_chunks(source), None)
    return () if first is None else tuple(first.rows)


def _counted(source: Source, options: TableOptions) -> tuple[int, np.ndarray[Any, Any] | None]:
    """How many rows there are, and the label of each where it has kinds."""
    count, labels = 0, list[np.ndarray[Any, Any]]()
    for chunk in read_chunks(source, options):
        count += chunk.count
        column = chunk.schema.label_column
        if column is not None and not column.floating and not column.shape:
            labels.append(chunk.rows[column.name])
    if not count:
        raise ConfigError(Problem("data.entry", "returned no rows", _FORMS))
    return count, np.concatenate(labels) if labels else None
