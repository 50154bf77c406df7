"""Rows to slices, and back. The same rows make the same slice, with the same root, on every machine: whoever offers it is said elsewhere.

A slice is packed as an update is: kind `slice`, codec `raw`, peer NOBODY, number 0. Its tensors are `about` (`learnae.data.about`),
then the columns in the order of their names, little-endian and in C order. A list of words holds those that occur in the slice alone,
in their order: so it tells nothing of rows that are not shared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import attrs
import numpy as np

from learnae.content.encryption import NO_ENCRYPTION, Encryption
from learnae.content.meta import Limits, TensorEntry
from learnae.content.pack import Packed, pack
from learnae.content.unpack import Content
from learnae.data.about import MOST_ABOUT_BYTES, About, count_labels, decode_about, describe, encode_about, same_sketch, sketch_of
from learnae.data.schema import (
    ABOUT,
    CODE,
    MOST_COLUMNS,
    MOST_DIMENSIONS,
    MOST_ROWS,
    MOST_SLICE_BYTES,
    NAME_CHARACTERS,
    Column,
    Rows,
    Schema,
    check_schema,
    rows_in,
)
from learnae.errors import ConfigError, Problem, UpdateRejectedError
from learnae.records import BLOCK_BYTES, NOBODY, AnnouncementKind, Encoded, Slice, TensorSpec

CODEC = "raw"
SLICE_ROWS = 4096
SLICE_BYTES = 2 << 20
"""What a slice has at most unless somebody says otherwise: some seconds of a slow link, and many enough to choose among."""

SLICE_LIMITS = Limits(
    bytes=MOST_SLICE_BYTES + 4 * BLOCK_BYTES,  # the rows, and what stands around them
    tensors=MOST_COLUMNS + 1,
    pages=2,
    meta_bytes=2 * BLOCK_BYTES,
    name=NAME_CHARACTERS,
    dims=MOST_DIMENSIONS + 1,
    notes=0,
    parents=0,
)
"""For `Manifest.read`: what a stranger's slice may claim before anything of it is fetched."""


@attrs.frozen
class SliceRows:
    """The rows of one slice: columns by name, read-only and whole, and what is said of them. Its schema has the slice's own words."""

    schema: Schema
    columns: Rows
    about: About

    @property
    def count(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def bytes(self) -> int:
        return self.count * self.schema.row_bytes


@attrs.frozen
class PackedSlice:
    """Blocks for a storage, and the body of the announcement that offers them."""

    packed: Packed
    announced: Slice


def make_slices(
    arrays: Rows, schema: Schema, *, licence: str = "", source: str = "", most_rows: int = SLICE_ROWS, most_bytes: int = SLICE_BYTES
) -> Iterator[SliceRows]:
    """Cut these rows into slices, in their order, of so many rows and bytes at most. Copies one slice at a time.

    Raises ConfigError for rows that do not fit the schema, for numbers that are not finite, and for codes without a word: each by
    column and row.
    """
    count = rows_in(arrays, schema)
    height = max(1, min(most_rows, MOST_ROWS, min(most_bytes, MOST_SLICE_BYTES) // schema.row_bytes))
    for start in range(0, count, height):
        part = {name: array[start : start + height] for name, array in arrays.items()}
        try:
            for column in schema.columns:
                _check_values(column, part[column.name], start)
        except UpdateRejectedError as error:
            raise ConfigError(Problem("data", error.detail, "mend these rows, or leave them out")) from None
        yield _make_slice(part, schema, licence, source)


def pack_slice(rows: SliceRows, encryption: Encryption = NO_ENCRYPTION) -> PackedSlice:
    """The blocks of a slice. Rows that `make_slices`, `open_slice` or a file of them gave have the same root again."""
    entries = [
        (TensorSpec(name=name, dtype=str(array.dtype), shape=array.shape), _encoded(array)) for name, array in tensors_of(rows).items()
    ]
    packed = pack(entries, peer=NOBODY, kind=AnnouncementKind.SLICE, number=0, codec=CODEC, encryption=encryption)
    announced = Slice(
        root=packed.root,
        bytes=packed.bytes,
        schema=rows.schema.digest,
        rows=rows.count,
        labels=dict(rows.about.labels),
        sketch=rows.about.sketch,
    )
    return PackedSlice(packed, announced)


def open_slice(content: Content, announced: Slice | None = None) -> SliceRows:
    """The rows of a slice that was fetched, all of it checked: without a copy where a column lies in one block.

    Raises UpdateRejectedError, whose reason is "kind", "schema", "non-finite", "words", "labels" or "sketch" where the slice is whole
    and lies, and "announced" where the announcement did.
    """
    meta = content.meta
    if (meta.kind, meta.codec, meta.peer, meta.number, meta.base, meta.parents) != (AnnouncementKind.SLICE, CODEC, NOBODY, 0, None, ()):
        raise UpdateRejectedError("kind", "no slice, or one that another program has packed")
    rows = rows_from({entry.spec.name: _decoded(entry, content) for entry in meta.tensors}, announced)
    if announced is not None:
        _check_announced(rows, announced)
    return rows


def tensors_of(rows: SliceRows) -> dict[str, np.ndarray[Any, Any]]:
    """All tensors of a slice in their order."""
    return {ABOUT: np.frombuffer(encode_about(rows.about), np.uint8), **rows.columns}


def rows_from(tensors: Rows, announced: Slice | None = None) -> SliceRows:
    """The slice of these tensors, which are in their order, with all that holds for each slice checked. Raises UpdateRejectedError.

    Of another schema or number of rows than was announced no value is looked at: a sketch of very wide rows takes seconds.
    """
    names = list(tensors)
    if names[:1] != [ABOUT] or tensors[ABOUT].dtype != np.uint8 or tensors[ABOUT].ndim != 1:
        raise UpdateRejectedError("schema", f"the first tensor is not {ABOUT}")
    if tensors[ABOUT].nbytes > MOST_ABOUT_BYTES:
        raise UpdateRejectedError("schema", f"more than {MOST_ABOUT_BYTES:,} bytes about the rows")
    about = decode_about(tensors[ABOUT].tobytes())
    columns = {name: tensors[name] for name in names[1:]}
    schema = _schema(columns, about)
    if announced is not None:
        _check_kind(schema, len(next(iter(columns.values()))), announced)
    for column in schema.columns:
        _check_values(column, columns[column.name], 0)
    _check_words(columns, schema)
    if about.labels != count_labels(columns, schema):
        raise UpdateRejectedError("labels", "other numbers of rows by label than it says")
    if not same_sketch(about.sketch, sketch_of(columns, schema)):
        raise UpdateRejectedError("sketch", "other features than it says")
    return SliceRows(schema, {name: closed(array) for name, array in columns.items()}, about)


def _make_slice(part: Rows, schema: Schema, licence: str, source: str) -> SliceRows:
    made = [_with_own_words(column, _stored(part[column.name], column)) for column in schema.columns]
    own = Schema(tuple(column for column, _ in made), schema.label)
    columns = {column.name: closed(array) for column, array in made}
    return SliceRows(own, columns, describe(columns, own, licence=licence, source=source))


def _with_own_words(column: Column, codes: np.ndarray[Any, Any]) -> tuple[Column, np.ndarray[Any, Any]]:
    if column.words is None:
        return column, codes
    used = sorted({column.words[code] for code in np.unique(codes)})
    return attrs.evolve(column, words=tuple(used)), recoded(codes, column.words, used)


def recoded(codes: np.ndarray[Any, Any], words: Collection[str], wanted: Collection[str]) -> Any:
    """Codes of these words as codes of the wanted ones, -1 where a word is not wanted."""
    places = {word: place for place, word in enumerate(wanted)}
    return np.array([places.get(word, -1) for word in words] or [-1], np.dtype(CODE).newbyteorder("<"))[codes]


def _stored(array: np.ndarray[Any, Any], column: Column) -> np.ndarray[Any, Any]:
    """A copy, little-endian and in C order."""
    copy = np.empty(array.shape, column.row_dtype())
    np.copyto(copy, array)
    return copy


def closed(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same array, which nobody writes to by this one."""
    view = array.view()
    view.flags.writeable = False
    return view


def _encoded(array: np.ndarray[Any, Any]) -> Encoded:
    return Encoded(array.tobytes())


def _decoded(entry: TensorEntry, content: Content) -> np.ndarray[Any, Any]:
    spec, data = entry.spec, content.encoded(entry.spec.name).data
    if entry.meta:
        raise UpdateRejectedError("kind", f"notes of a codec about {spec.name}")
    if spec.dtype == "bfloat16" or len(spec.shape) > MOST_DIMENSIONS + 1:
        raise UpdateRejectedError("schema", f"{spec.name} is {spec.dtype}, of {len(spec.shape)} dimensions")
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    if len(data) != spec.count * dtype.itemsize:
        raise UpdateRejectedError("schema", f"{spec.name} has {len(data):,} bytes, and its shape wants {spec.count * dtype.itemsize:,}")
    return np.frombuffer(data, dtype).reshape(spec.shape)


def _schema(columns: Rows, about: About) -> Schema:
    if not columns or any(not array.ndim for array in columns.values()):
        raise UpdateRejectedError("schema", "no columns, or one without rows")
    counts = {len(array) for array in columns.values()}
    if len(counts) > 1 or not 1 <= (count := max(counts)) <= MOST_ROWS:
        raise UpdateRejectedError(
            "schema", f"from {min(counts)} to {max(counts)} rows, where each column has the same number, up to {MOST_ROWS:,}"
        )
    schema = Schema(
        tuple(Column(name, array.dtype.name, array.shape[1:], about.words.get(name)) for name, array in columns.items()), about.label
    )
    check_schema(schema)
    if about.words.keys() - columns.keys() or count * schema.row_bytes > MOST_SLICE_BYTES:
        raise UpdateRejectedError("schema", "words of no column, or more bytes than a slice may have")
    return schema


def _check_values(column: Column, values: np.ndarray[Any, Any], first: int) -> None:
    """`first` is the number of the first of these rows."""
    if column.floating:
        finite = np.isfinite(values)
        if not finite.all():
            raise UpdateRejectedError(
                "non-finite", f"column {column.name!r}, row {first + first_row(~finite)}: a number that is not finite"
            )
    elif column.dtype == "bool":
        if (odd := values.view(np.uint8) > 1).any():
            raise UpdateRejectedError("schema", f"column {column.name!r}, row {first + first_row(odd)}: neither true nor false")
    elif column.words is not None:
        wrong = (values < 0) | (values >= len(column.words))
        if wrong.any():
            raise UpdateRejectedError("words", f"column {column.name!r}, row {first + first_row(wrong)}: a code without a word")


def first_row(wrong: np.ndarray[Any, Any]) -> int:
    """The number of the first row in which something is true."""
    return int(np.argmax(wrong.reshape(len(wrong), -1).any(axis=1)))


def _check_words(columns: Rows, schema: Schema) -> None:
    """Only those that occur, in their order: other lists would be other roots of the same rows."""
    for column in schema.columns:
        if column.words is not None and (
            list(column.words) != sorted(column.words) or len(np.unique(columns[column.name])) != len(column.words)
        ):
            raise UpdateRejectedError("words", f"column {column.name!r} has words that no row has, or not in their order")


def _check_kind(schema: Schema, rows: int, announced: Slice) -> None:
    if (schema.digest, rows) != (announced.schema, announced.rows):
        raise UpdateRejectedError("announced", f"{announced.rows} rows of one schema were announced, and {rows} of another came")


def _check_announced(rows: SliceRows, announced: Slice) -> None:
    if announced.labels and dict(announced.labels) != dict(rows.about.labels):  # neither need fit into a message
        raise UpdateRejectedError("announced", "other numbers of rows by label than were announced")
    if announced.sketch not in (b"", rows.about.sketch):
        raise UpdateRejectedError("announced", "another sketch than was announced")
