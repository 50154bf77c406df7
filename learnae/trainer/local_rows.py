"""The own rows of a peer as columns, in whatever form its training has them: arrays, tensors, or a torch Dataset."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import attrs
import numpy as np
import torch
from torch.utils.data import TensorDataset

from learnae.data.own import IdArray, row_ids
from learnae.data.schema import CODE, Schema, schema_of
from learnae.errors import ConfigError, Problem

Array = np.ndarray[Any, Any]
Words = Mapping[str, Sequence[str]]

_LOCAL = "swarm.dataset(local=...)"
_FORMS = (
    "give columns by name {name: array}, one array of all rows (numpy.stack of a list), the tuple (features, label) of arrays, "
    "or a torch Dataset with a length"
)
LABEL = "label"
_ROWS_AT_ONCE = 64  # of which the bytes are in memory once more


@attrs.frozen
class SampleForm:
    """How the parts of a row stand in a sample: a table, a tuple, or one part alone. `names` are the columns, in the order of the parts."""

    kind: str
    names: tuple[str, ...]

    def make(self, parts: Sequence[Any]) -> Any:
        """A sample of these parts."""
        if self.kind == "table":
            return dict(zip(self.names, parts, strict=True))
        return tuple(parts) if self.kind == "tuple" else parts[0]


@attrs.frozen
class ArrayRows:
    """Own rows that lie in memory.

    Tensors stay tensors: a view of one as an array points into nowhere once another process has got the tensor by shared memory.
    """

    schema: Schema
    form: SampleForm
    columns: Mapping[str, Array | torch.Tensor]

    @property
    def count(self) -> int:
        return len(self.columns[self.form.names[0]])

    def read(self, numbers: Array) -> dict[str, Array]:
        """A copy of the rows with these numbers."""
        return {name: _taken(column, numbers) for name, column in self.columns.items()}

    def ids(self, peer: str) -> IdArray:
        """Of each row, by its content: see `learnae.data.own`."""
        return _ids(self, peer)

    def labels(self) -> Array | None:
        """The column of the label, whole; None where it has no kinds to count."""
        if self.schema.label is None or not has_kinds(self.schema):
            return None
        return _taken(self.columns[self.schema.label], np.arange(self.count))


@attrs.frozen
class ItemRows:
    """Own rows that a torch Dataset gives one by one. `first` is a row, by column."""

    schema: Schema
    form: SampleForm
    items: Any
    count: int
    first: Mapping[str, Array]

    def read(self, numbers: Array) -> dict[str, Array]:
        """The rows with these numbers. Raises ConfigError for one that is not like the first."""
        columns = {name: np.empty((len(numbers), *one.shape), one.dtype) for name, one in self.first.items()}
        for place, number in enumerate(numbers.tolist()):
            for name, part in self._row(number).items():
                columns[name][place] = part
        return columns

    def ids(self, peer: str) -> IdArray:
        """Of each row, by its content: see `learnae.data.own`. Reads all rows, without which nobody could say which were given before."""
        return _ids(self, peer)

    def labels(self) -> Array | None:
        """The column of the label, whole; None where it has no kinds to count. Reads all rows, unless the Dataset has `targets`."""
        label = self.schema.label
        if label is None or not has_kinds(self.schema):
            return None
        targets = getattr(self.items, "targets", None)  # as the data sets of torchvision have them
        if targets is not None and len(targets) == self.count:
            return np.asarray(targets).astype(self.first[label].dtype)
        return np.stack([self._row(number)[label] for number in range(self.count)])

    def _row(self, number: int) -> dict[str, Array]:
        form, parts = _form(self.items[number])
        row = {name: _as_array(part, name) for name, part in zip(form.names, parts, strict=True)}
        for name, one in self.first.items():
            other = row.get(name)
            if other is None or other.shape != one.shape or other.dtype != one.dtype:
                said = "missing" if other is None else f"{other.dtype} {other.shape}"
                what = f"is {said} in row {number}, and {one.dtype} {one.shape} in row 0"
                raise ConfigError(Problem(f"data column {name!r}", what, "make all rows alike: crop, pad or convert them in `local`"))
        return row


def _ids(rows: ArrayRows | ItemRows, peer: str) -> IdArray:
    starts = range(0, rows.count, _ROWS_AT_ONCE)
    numbers = [np.arange(start, min(start + _ROWS_AT_ONCE, rows.count)) for start in starts]
    return np.concatenate([row_ids(rows.read(some), rows.schema, peer) for some in numbers])


def _taken(column: Array | torch.Tensor, numbers: Array) -> Array:
    if isinstance(column, torch.Tensor):
        return cast("Array", column.index_select(0, torch.from_numpy(numbers)).numpy())
    return column.take(numbers, axis=0)


LocalRows = ArrayRows | ItemRows


def local_rows(local: Any, *, label: str | None = None, words: Words | None = None) -> LocalRows:
    """`label` names the column that is to be predicted: by default the one called "label", or the second of two parts.

    Parts without a name are called "features" and "label" where they are two, "features" where it is one, and "0", "1", ... where they are
    more. Parts are the tensors of a TensorDataset, or a tuple of one or two arrays. A list holds samples. `words` gives
    the words of columns of text, also those that only rows of others have.
    Raises ConfigError that names the column for what cannot be a slice, and for what may be rows or columns: nothing is guessed, since rows
    that are taken for columns would give away a part of all of them.
    """
    if isinstance(local, TensorDataset):
        return _of_arrays(local.tensors, label, words)
    if isinstance(local, tuple) and not (len(local) in (1, 2) and all(map(_is_array, local)) and not _may_be_rows(local)):
        raise ConfigError(Problem(_LOCAL, f"is a tuple of {len(local)}, which may be rows or columns", _FORMS))
    if isinstance(local, list) and any(map(_is_array, local)):
        raise ConfigError(Problem(_LOCAL, f"is a list of {len(local)} arrays, which may be rows or columns", _FORMS))
    if isinstance(local, Mapping | tuple) or _is_array(local):
        return _of_arrays(local, label, words)
    return _of_items(local, label, words)


def _may_be_rows(parts: Sequence[Any]) -> bool:
    return len(parts) == 2 and parts[0].ndim == 1


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | torch.Tensor) and value.ndim > 0


def _of_arrays(local: Any, label: str | None, words: Words | None) -> ArrayRows:
    form, parts = _form(local)
    arrays, columns, known = dict[str, Array](), dict[str, Array | torch.Tensor](), dict(words or {})
    for name, part in zip(form.names, parts, strict=True):
        arrays[name], found = _coded(name, _as_array(part, name), known.get(name))
        columns[name] = part.detach().cpu() if isinstance(part, torch.Tensor) else arrays[name]
        if found is not None:
            known[name] = found
    schema = schema_of(arrays, _label(form.names, label), known)
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1 or not min(counts.values()):
        raise ConfigError(Problem(_LOCAL, f"has columns with so many rows: {counts}", "each needs as many, and one at least"))
    return ArrayRows(schema, form, columns)


def _of_items(local: Any, label: str | None, words: Words | None) -> ItemRows:
    try:
        count, first = len(local), local[0]
    except (TypeError, NotImplementedError, IndexError, KeyError) as error:
        raise ConfigError(Problem(_LOCAL, f"is {type(local).__name__}, which has no rows to name: {error}", _FORMS)) from None
    form, parts = _form(first)
    row = {name: _as_array(part, name) for name, part in zip(form.names, parts, strict=True)}
    schema = schema_of({name: array[None] for name, array in row.items()}, _label(form.names, label), words)
    return ItemRows(schema, form, local, count, row)


def _form(value: Any) -> tuple[SampleForm, tuple[Any, ...]]:
    """The form of a sample, and its parts."""
    if isinstance(value, Mapping):
        return SampleForm("table", tuple(map(str, value))), tuple(value.values())
    if isinstance(value, list | tuple):
        names = {1: ("features",), 2: ("features", LABEL)}.get(len(value)) or tuple(map(str, range(len(value))))
        return SampleForm("tuple", names), tuple(value)
    return SampleForm("one", ("features",)), (value,)


def _label(names: Sequence[str], label: str | None) -> str | None:
    return label if label is not None else LABEL if LABEL in names else None


def _as_array(part: Any, name: str) -> Array:
    try:
        array = part.detach().cpu().numpy() if isinstance(part, torch.Tensor) else np.asarray(part)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(Problem(f"data column {name!r}", f"is no array: {error}", "convert it in `local`")) from None
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _coded(name: str, array: Array, words: Sequence[str] | None) -> tuple[Array, Sequence[str] | None]:
    """Text as codes, and the words that they stand for; anything else as it is."""
    if array.dtype.kind not in "UO" or array.ndim != 1:
        return array, words
    texts = array.tolist()
    if any(type(text) is not str for text in texts):
        raise ConfigError(Problem(f"data column {name!r}", "holds objects that are no text", "convert it to numbers or text"))
    known = sorted(set(texts)) if words is None else list(words)
    codes = {word: code for code, word in enumerate(known)}
    if unknown := sorted(set(texts) - codes.keys()):
        raise ConfigError(Problem(f"data column {name!r}", f"has a word that `words` does not name: {unknown[0]!r}", "name it there too"))
    return np.array([codes[text] for text in texts], CODE), known


def has_kinds(schema: Schema) -> bool:
    """Whether the label is one of some kinds, which can be counted."""
    column = schema.label_column
    return column is not None and not column.floating and not column.shape


def seed_of(text: str) -> int:
    """A seed that is the same in each run."""
    return zlib.crc32(text.encode())
