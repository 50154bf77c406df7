"""Rows that a peer gives without training on them: from arrays or files, as many as its owner consents to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from learnae.data.own import IdArray, OwnSlices, consent_of, most_to_share, row_ids
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


@attrs.frozen
class GivenCount:
    """How many rows are given, and how many the file allows: fewer are where others were given before that are not there any more."""

    rows: int
    allowed: int


def give(rows: Any, home: Path, rules: GivenRows, *, peer: str, folder: Path) -> GivenCount:
    """Make slices of at most so many of these rows as the rules say, of each label its part, and put them into `data/own`.

    `rows` is what the user's function has returned; a path starts at `folder`. What was given before is given first, and counts also
    where it is there no more (`OwnSlices.choose`). Raises ConfigError for what cannot be rows, OSError.
    """
    source = _source(rows, folder)
    options = TableOptions(label=_label(source, rules))
    ids, labels = _looked_at(source, options, peer)
    numbers = OwnSlices(home).choose(ids, most_rows=rules.most_rows, fraction=rules.fraction, labels=labels)
    consent = consent_of(most_rows=rules.most_rows, fraction=rules.fraction, licence=rules.licence, source=rules.source)
    OwnSlices(home).replace(_slices(pick_rows(read_chunks(source, options), numbers), rules), most_rows=len(numbers), consent=consent)
    return GivenCount(len(numbers), most_to_share(len(ids), most_rows=rules.most_rows, fraction=rules.fraction))


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


def _looked_at(source: Source, options: TableOptions, peer: str) -> tuple[IdArray, np.ndarray[Any, Any] | None]:
    """The id of each row, and its label where that has kinds."""
    ids, labels = list[IdArray](), list[np.ndarray[Any, Any]]()
    for chunk in read_chunks(source, options):
        ids.append(row_ids(chunk.rows, chunk.schema, peer))
        column = chunk.schema.label_column
        if column is not None and not column.floating and not column.shape:
            labels.append(chunk.rows[column.name])
    if not ids:
        raise ConfigError(Problem("data.entry", "returned no rows", _FORMS))
    return np.concatenate(ids), np.concatenate(labels) if labels else None
