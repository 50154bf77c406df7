"""The schema of rows: names, dtypes and shapes of the columns, and which of them is the label.

A column of text is a column of codes: row 3 of `words` ("a", "b") is "b" where its code is 1. The words are no part of the digest,
since peers see different ones. Who only names columns, as a sensor does, needs no numpy.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from learnae.content import validators
from learnae.content.meta import DTYPES as TENSOR_DTYPES
from learnae.content.roots import encode_dag
from learnae.errors import ConfigError, Problem, UpdateRejectedError

if TYPE_CHECKING:
    import numpy as np

Rows = Mapping[str, "np.ndarray[Any, Any]"]
"""Columns by name. The first dimension of each is the rows."""

DTYPES = TENSOR_DTYPES - {"bfloat16"}
"""What a column may hold: numpy has no bfloat16."""

CODE = "int32"
"""The dtype of a column of text."""

ITEM_BYTES = {dtype: 1 if dtype == "bool" else int(dtype.lstrip("uintfloa")) // 8 for dtype in DTYPES}

MOST_SLICE_BYTES = 16 << 20
MOST_ROWS = 1 << 16
MOST_COLUMNS = 256
MOST_DIMENSIONS = 8
MOST_WORDS = 4096
NAME_CHARACTERS = 64
WORD_CHARACTERS = 64
DIGEST_BYTES = 8

ABOUT = "about"
_RESERVED = (ABOUT, "__metadata__")  # the tensor beside the columns, and a key of safetensors


@attrs.frozen
class Column:
    """One column. `shape` is that of one row. `words` are those that the codes of a column of text stand for; None for numbers."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    words: tuple[str, ...] | None = None

    @property
    def row_bytes(self) -> int:
        return ITEM_BYTES[self.dtype] * math.prod(self.shape)

    @property
    def floating(self) -> bool:
        return self.dtype.startswith("float")

    def row_dtype(self) -> np.dtype[Any]:
        """Little-endian, as it is stored."""
        import numpy as np

        return np.dtype(self.dtype).newbyteorder("<")


@attrs.frozen
class Schema:
    """Columns in the order of their names, and the name of the one that is to be predicted."""

    columns: tuple[Column, ...]
    label: str | None = None

    @cached_property
    def digest(self) -> bytes:
        """8 bytes over names, dtypes and shapes, the label, and which columns are text."""
        rows = [[column.name, column.dtype, list(column.shape), column.words is not None] for column in self.columns]
        return hashlib.sha256(b"learnae/schema/1" + encode_dag([self.label or "", rows])).digest()[:DIGEST_BYTES]

    @property
    def row_bytes(self) -> int:
        return sum(column.row_bytes for column in self.columns)

    @cached_property
    def by_name(self) -> Mapping[str, Column]:
        return {column.name: column for column in self.columns}

    @property
    def label_column(self) -> Column | None:
        return None if self.label is None else self.by_name[self.label]

    def covers(self, other: Schema) -> bool:
        """Whether rows of the other mean the same here: the same digest, and each list of words begins with the other's."""
        pairs = zip(self.columns, other.columns, strict=False)
        return self.digest == other.digest and all(_begins(mine.words, theirs.words) for mine, theirs in pairs)


def _begins(words: Sequence[str] | None, others: Sequence[str] | None) -> bool:
    return words is None or (others is not None and words[: len(others)] == others)


def schema_of(arrays: Rows, label: str | None = None, words: Mapping[str, Sequence[str]] | None = None) -> Schema:
    """The schema of these arrays. `words` names the columns of text, which hold codes.

    Raises ConfigError that names the column, also for what peers would refuse.
    """
    words = words or {}
    for name in words.keys() - arrays.keys():
        raise _unfit(name, "has words, and there is no such column", f"the columns are {', '.join(sorted(arrays))}")
    columns = tuple(_column(name, arrays[name], words.get(name)) for name in sorted(arrays))
    if label is not None and label not in arrays:
        raise _unfit(label, "is to be the label, and there is no such column", f"the columns are {', '.join(sorted(arrays))}")
    schema = Schema(columns, label)
    try:
        check_schema(schema)
    except UpdateRejectedError as error:
        raise ConfigError(Problem("data", error.detail, "change the columns, or leave some out")) from None
    return schema


def check_schema(schema: Schema) -> None:
    """Raises UpdateRejectedError("schema") for what no slice may have."""
    names = [column.name for column in schema.columns]
    try:
        validators.integer(len(names), "the number of columns", 1, MOST_COLUMNS)
        for column in schema.columns:
            _check_column(column)
    except UpdateRejectedError as error:
        raise _rejected(error.detail) from None
    if names != sorted(set(names)):
        raise _rejected("columns that are not in the order of their names, or two of one name")
    if schema.label is not None and schema.label not in names:
        raise _rejected("a label that is none of the columns")
    if schema.row_bytes > MOST_SLICE_BYTES:
        raise _rejected(f"one row of {schema.row_bytes:,} bytes, and a slice may have {MOST_SLICE_BYTES:,}")


def rows_in(arrays: Rows, schema: Schema) -> int:
    """How many rows these are. Raises ConfigError that names the column where they do not fit the schema."""
    for name in arrays.keys() ^ schema.by_name.keys():
        raise _unfit(name, "is missing" if name in schema.by_name else "is not in the schema", "give the columns that the schema names")
    counts = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise ConfigError(Problem("data", f"columns of different lengths: {counts}", "each row needs a value in each column"))
    for column in schema.columns:
        array = arrays[column.name]
        if array.dtype.name != column.dtype or array.shape[1:] != column.shape:
            found, wanted = f"{array.dtype.name} {array.shape[1:]}", f"{column.dtype} {column.shape}"
            raise _unfit(column.name, f"is {found} in each row, and the schema says {wanted}", f"make it {wanted}")
    return next(iter(counts.values()))


def dump_schema(schema: Schema) -> dict[str, Any]:
    """As JSON holds it."""
    columns = [[column.name, column.dtype, list(column.shape), column.words and list(column.words)] for column in schema.columns]
    return {"label": schema.label, "columns": columns}


def load_schema(value: Any) -> Schema:
    """What `dump_schema` made. Raises UpdateRejectedError for all else."""
    table = validators.table(value, "a schema", 2)
    if table.keys() != {"label", "columns"}:
        raise _rejected("a schema with other keys than label and columns")
    columns = tuple(_load_column(row) for row in validators.items(table["columns"], "columns", MOST_COLUMNS))
    label = table["label"]
    schema = Schema(columns, None if label is None else validators.text(label, "a label", NAME_CHARACTERS))
    check_schema(schema)
    return schema


def _load_column(row: Any) -> Column:
    if type(row) is not list or len(row) != 4:
        raise validators.malformed("a column", "a list of 4 items")
    name, dtype, shape, words = row
    dims = tuple(validators.items(shape, "a shape", MOST_DIMENSIONS))
    return Column(name, dtype, dims, None if words is None else tuple(validators.items(words, "words", MOST_WORDS)))


def _column(name: str, array: Any, words: Sequence[str] | None) -> Column:
    import numpy as np

    if not isinstance(array, np.ndarray) or not array.ndim:
        raise _unfit(name, "is no array with rows", "give a numpy array whose first dimension is the rows")
    if array.dtype.name not in DTYPES:
        hint = (
            "give codes, and the words that they stand for" if array.dtype.kind in "USTO" else f"make it one of {', '.join(sorted(DTYPES))}"
        )
        raise _unfit(name, f"is of dtype {array.dtype.name}", hint)
    if words is not None and (array.dtype.name != CODE or array.ndim != 1):
        raise _unfit(name, f"is text, whose codes must be {CODE} in one dimension", f"{name}.astype({CODE!r})")
    return Column(name, array.dtype.name, array.shape[1:], None if words is None else tuple(words))


def _check_column(column: Column) -> None:
    if not validators.text(column.name, "the name of a column", NAME_CHARACTERS) or column.name in _RESERVED:
        raise _rejected(f"a column without a name, or called {' or '.join(_RESERVED)}")
    validators.one_of(column.dtype, f"the dtype of {column.name}", DTYPES)
    if len(column.shape) > MOST_DIMENSIONS:
        raise _rejected(f"{column.name} has more than {MOST_DIMENSIONS} dimensions in a row")
    for dimension in column.shape:
        validators.integer(dimension, f"a dimension of {column.name}", 1)
    if column.words is not None:
        _check_words(column)


def _check_words(column: Column) -> None:
    assert column.words is not None
    if (column.dtype, column.shape) != (CODE, ()):
        raise _rejected(f"{column.name} is text, and not {CODE}")
    if len(column.words) > MOST_WORDS:
        raise _rejected(f"{column.name} has more than {MOST_WORDS:,} words")
    for word in column.words:
        validators.text(word, f"a word of {column.name}", WORD_CHARACTERS)
    if len(set(column.words)) != len(column.words):
        raise _rejected(f"{column.name} has a word twice")


def _rejected(detail: str) -> UpdateRejectedError:
    return UpdateRejectedError("schema", detail)


def _unfit(name: str, message: str, suggestion: str) -> ConfigError:
    return ConfigError(Problem(f"data column {name!r}", message, suggestion))
