"""Rows from where people have them, a chunk at a time: arrays, and files of CSV and Parquet, which pyarrow reads (`learnae[tables]`).

What a table has becomes numbers: text becomes codes with words, a date or time microseconds since 1970 or midnight as int64, a decimal
number float64. Of a file no more is in memory than a chunk, and what the reader of the file holds: a megabyte of a CSV, a page of each
column of Parquet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from learnae.data.schema import CODE, MOST_WORDS, WORD_CHARACTERS, Rows, Schema, schema_of
from learnae.errors import ConfigError, Problem

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS = 4096
INSTALL_TABLES = 'pip install "learnae[tables]"'

Source = Path | Rows | np.ndarray[Any, Any]
"""A CSV or Parquet file, columns by name, or one array, with fields or without. An array without is the column `x`."""

_CSV_BLOCK = 1 << 20
_SUFFIXES = {".csv": ",", ".tsv": "\t", ".parquet": "", ".pq": ""}  # and what stands between two cells


@attrs.frozen
class Chunk:
    """Some rows that follow each other. The lists of words of a later chunk begin with those of an earlier one."""

    rows: Rows
    schema: Schema

    @property
    def count(self) -> int:
        return len(next(iter(self.rows.values())))


@attrs.frozen(kw_only=True)
class TableOptions:
    """How a table is read. `columns`: only these. `dtypes`: make these columns of such a dtype, instead of what the file says or looks
    like.

    `drop_missing`: leave out rows in which a value is missing, or is not a number; without it they are an error.
    """

    label: str | None = None
    columns: Sequence[str] | None = None
    dtypes: Mapping[str, str] = attrs.field(factory=dict)
    drop_missing: bool = False
    chunk_rows: int = CHUNK_ROWS


def read_chunks(source: Source, options: TableOptions | None = None) -> Iterator[Chunk]:
    """All rows in their order, `chunk_rows` at a time, fewer at the end and where rows are left out.

    Raises ConfigError, which names file, column and row, for what cannot become rows, and where pyarrow is missing.
    """
    options = options or TableOptions()
    words: dict[str, dict[str, int]] = {}
    first = 0
    for table in _tables(source, options):
        whole = {name: _kept(name, column, first, words) for name, column in table.items()}
        first += len(next(iter(whole.values())).values)
        rows = _without_missing(whole, options, first)
        if len(next(iter(rows.values()))):
            yield Chunk(rows, schema_of(rows, options.label, {name: tuple(words[name]) for name in rows.keys() & words.keys()}))


def count_rows(source: Source, options: TableOptions | None = None) -> int:
    """How many rows `read_chunks` gives. Reads all of a CSV, and of a table of which rows are left out. Raises ConfigError as that does."""
    drops = options is not None and options.drop_missing
    if isinstance(source, Path) and _SUFFIXES.get(source.suffix.lower()) == "" and not drops:
        for _ in _of_file(source, options or TableOptions()):  # the first chunk: whether it is one at all
            break
        from pyarrow import parquet

        return int(parquet.read_metadata(source).num_rows)
    return sum(chunk.count for chunk in read_chunks(source, options))


def pick_rows(chunks: Iterable[Chunk], numbers: np.ndarray[Any, Any], chunk_rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """Of all these rows those with these numbers, which rise, in chunks of their own: what `learnae.data.own.rows_to_share` has chosen."""
    first, waiting, held = 0, list[Chunk](), 0
    for chunk in chunks:
        low, high = np.searchsorted(numbers, (first, first + chunk.count))
        taken = numbers[low:high] - first
        first += chunk.count
        if len(taken):
            waiting.append(Chunk({name: array[taken] for name, array in chunk.rows.items()}, chunk.schema))
            held += len(taken)
        if held >= chunk_rows:
            yield _joined(waiting)
            waiting, held = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(chunks: Sequence[Chunk]) -> Chunk:
    rows = {name: np.concatenate([chunk.rows[name] for chunk in chunks]) for name in chunks[0].rows}
    return Chunk(rows, chunks[-1].schema)


@attrs.frozen
class _Cells:
    """One column of one chunk: numbers or an array of text, and in which rows nothing stands."""

    values: np.ndarray[Any, Any]
    missing: np.ndarray[Any, Any] | None = None


def _tables(source: Source, options: TableOptions) -> Iterator[dict[str, _Cells]]:
    if isinstance(source, Path):
        yield from _of_file(source, options)
        return
    arrays = _arrays(source)
    if options.columns is not None:
        arrays = {name: arrays[name] if name in arrays else _no_column(name, arrays) for name in options.columns}
    arrays = {name: array.astype(options.dtypes[name]) if name in options.dtypes else array for name, array in arrays.items()}
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) != 1:
        raise ConfigError(
            Problem("data", f"no columns, or columns of different lengths: {counts}", "each row needs a value in each column")
        )
    for start in range(0, min(counts.values()), options.chunk_rows):
        yield {name: _Cells(array[start : start + options.chunk_rows]) for name, array in arrays.items()}


def _arrays(source: Rows | np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    if isinstance(source, Mapping):
        arrays = {name: np.asarray(array) for name, array in source.items()}
    elif source.dtype.names:
        arrays = {name: source[name] for name in source.dtype.names}
    else:
        arrays = {"x": source}
    for name, array in arrays.items():
        if not array.ndim:
            raise ConfigError(
                Problem(f"data column {name!r}", "is one value, and no column", "give an array whose first dimension is the rows")
            )
    return arrays


def _kept(name: str, cells: _Cells, first: int, words: dict[str, dict[str, int]]) -> _Cells:
    """Text as codes; `words` gets those that are new. `first` is the number of the first row."""
    if cells.values.dtype.kind not in "UTO" or cells.values.ndim != 1:
        return cells
    known = words.setdefault(name, {})
    missing = np.array([not isinstance(value, str) for value in cells.values], bool)
    for row, value in enumerate(cells.values):
        if not missing[row] and value not in known:
            known[str(value)] = len(known)  # numpy's own kind of text among them
            _check_word(name, first + row, value, len(known))
    codes = [0 if gone else known[value] for value, gone in zip(cells.values, missing, strict=True)]
    return _Cells(np.array(codes, CODE), missing if cells.missing is None else missing | cells.missing)


def _check_word(name: str, row: int, word: str, count: int) -> None:
    if len(word) > WORD_CHARACTERS or not word.isprintable():
        message = f"row {row} holds text of more than {WORD_CHARACTERS} characters, or that cannot be printed"
        raise ConfigError(Problem(f"data column {name!r}", message, "shorten it, or leave the column out"))
    if count > MOST_WORDS:
        raise ConfigError(Problem(f"data column {name!r}", f"holds more than {MOST_WORDS:,} different texts", "leave the column out"))


def _without_missing(table: Mapping[str, _Cells], options: TableOptions, ends: int) -> Rows:
    """`ends` is the number of the row behind the last."""
    count = len(next(iter(table.values())).values)
    dropped = np.zeros(count, bool)
    for name, cells in table.items():
        missing = np.zeros(count, bool) if cells.missing is None else cells.missing
        if cells.values.dtype.kind == "f":
            missing = missing | np.isnan(cells.values.reshape(count, -1)).any(axis=1)
        if missing.any() and not options.drop_missing:
            row = ends - count + int(np.argmax(missing))
            raise ConfigError(
                Problem(f"data column {name!r}", f"row {row} has no value", "leave out such rows by drop_missing, or the column")
            )
        dropped |= missing
    return {name: cells.values[~dropped] if dropped.any() else cells.values for name, cells in table.items()}


def _of_file(path: Path, options: TableOptions) -> Iterator[dict[str, _Cells]]:
    if path.suffix.lower() not in _SUFFIXES:
        raise ConfigError(Problem(str(path), "is no table that can be read", f"name a file that ends in {', '.join(_SUFFIXES)}"))
    if not path.is_file():
        raise ConfigError(Problem(str(path), "there is no such file", "check the path"))
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ConfigError(Problem(str(path), "to read it, pyarrow is needed, which is not installed", INSTALL_TABLES)) from error
    read = _csv_batches if (between := _SUFFIXES[path.suffix.lower()]) else _parquet_batches
    try:
        for batch in _rechunked(read(path, options, between), options.chunk_rows):
            yield {name: _cells(name, column, options, pa) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    except (pa.ArrowException, OSError) as error:
        text = " ".join(str(error).split())
        raise ConfigError(Problem(str(path), f"cannot be read: {text}", "mend the file; dtypes says what a column is to be")) from error


def _csv_batches(path: Path, options: TableOptions, between: str) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    from pyarrow import csv

    convert = csv.ConvertOptions(
        include_columns=list(options.columns) if options.columns is not None else None,
        column_types={name: pa.type_for_alias(dtype) for name, dtype in options.dtypes.items()},
    )
    reading = csv.ReadOptions(block_size=_CSV_BLOCK, use_threads=False)
    parse = csv.ParseOptions(delimiter=between)
    with (
        path.open("rb") as text,  # of a path it reads 32 blocks ahead
        csv.open_csv(text, read_options=reading, parse_options=parse, convert_options=convert) as file,
    ):
        yield from file


def _parquet_batches(path: Path, options: TableOptions, _: str) -> Iterator[pa.RecordBatch]:
    from pyarrow import parquet

    columns = None if options.columns is None else list(options.columns)
    with parquet.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
        for name in columns or ():
            if name not in file.schema_arrow.names:
                _no_column(name, dict.fromkeys(file.schema_arrow.names))
        yield from file.iter_batches(batch_size=options.chunk_rows, columns=columns, use_threads=False)


def _rechunked(batches: Iterator[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """The same rows, so many at a time."""
    import pyarrow as pa

    waiting, held = list["pa.RecordBatch"](), 0
    for batch in batches:
        waiting.append(batch)
        held += batch.num_rows
        if held < size:
            continue
        joined = pa.concat_batches(waiting)
        whole = held - held % size
        for start in range(0, whole, size):
            yield joined.slice(start, size)
        waiting, held = [joined.slice(whole)] if held > whole else [], held - whole
    if held:
        yield pa.concat_batches(waiting)


def _cells(name: str, column: pa.Array, options: TableOptions, pa: Any) -> _Cells:
    missing = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
    dtype, types = column.type, pa.types
    if types.is_dictionary(dtype):
        column, dtype = column.dictionary_decode(), dtype.value_type
    if types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype):
        return _Cells(column.to_numpy(zero_copy_only=False), missing)
    if types.is_fixed_size_list(dtype):
        inner = _cells(name, column.flatten() if missing is None else column.values, options, pa)
        return _Cells(inner.values.reshape(len(column), dtype.list_size), missing)
    wanted = options.dtypes.get(name) or _plain(name, dtype, types)
    column = _moment(column, types) if types.is_temporal(dtype) else column
    column = column.cast(pa.type_for_alias(wanted), safe=not wanted.startswith("float"))
    return _Cells(_numbers(column if missing is None else column.fill_null(False if wanted == "bool" else 0)), missing)


def _numbers(column: pa.Array) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = column.to_numpy(zero_copy_only=False)
    return found


def _moment(column: pa.Array, types: Any) -> pa.Array:
    """In microseconds."""
    import pyarrow as pa

    if types.is_duration(column.type):
        return column.cast(pa.duration("us"), safe=False).cast(pa.int64())
    unit: Callable[..., Any] = pa.time64 if types.is_time(column.type) else pa.timestamp
    return column.cast(unit("us"), safe=False).cast(pa.int64())


def _plain(name: str, dtype: Any, types: Any) -> str:
    if types.is_boolean(dtype):
        return "bool"
    if types.is_integer(dtype) or types.is_floating(dtype):
        return {"halffloat": "float16", "float": "float32", "double": "float64"}.get(str(dtype), str(dtype))
    if types.is_decimal(dtype):
        return "float64"
    if types.is_date(dtype) or types.is_timestamp(dtype) or types.is_time(dtype) or types.is_duration(dtype):
        return "int64"
    raise ConfigError(Problem(f"data column {name!r}", f"is of type {dtype}, which cannot become numbers", "leave it out by columns"))


def _no_column(name: str, there: Iterable[str]) -> Any:
    raise ConfigError(Problem(f"data column {name!r}", "there is no such column", f"the columns are {', '.join(sorted(there))}"))
