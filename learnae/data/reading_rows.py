"""From readings of sensors to rows that a peer trains on: in its schema and its words, and without those that do not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from learnae.data.fitting import Expected
from learnae.data.gathered import ReadyReadings
from learnae.data.readings import SampleContent, item_bytes
from learnae.data.schema import CODE, Column, Schema
from learnae.data.slices import SliceRows, make_slices
from learnae.errors import UpdateRejectedError


def check_sample(content: SampleContent, expected: Expected) -> None:
    """Raises UpdateRejectedError("licence" or "schema") for a sample of which no reading fits."""
    licences = expected.licences
    if not content.licence.strip() or (licences is not None and content.licence not in licences):
        raise UpdateRejectedError("licence", f"its licence is {content.licence or 'not named'}, which is not accepted")
    if content.schema != expected.schema.digest:
        raise UpdateRejectedError("schema", "other columns, or another label, than the rows that are trained on here")
    if len(content.data) != content.count * sum(map(item_bytes, expected.schema.columns)):
        raise UpdateRejectedError("schema", "readings of another length than their columns have")


def slices_of(ready: ReadyReadings, expected: Expected, refused: Counter[str]) -> Iterator[SliceRows]:
    """The slices of these readings: one, unless licence or source change within them. Counts those that do not fit by their reason: since
    they were heard, columns and licences may have become others.

    The source names the sensor, so that whoever fetches the slice from another peer knows whose readings these are.
    """
    for (licence, source), group in groupby(_fitting(ready.readings, expected, refused), lambda one: (one[1].licence, one[1].source)):
        rows = rows_of(list(group), expected, refused)
        if len(next(iter(rows.values()))):
            named = f"sensor {ready.sensor}{', ' if source else ''}{source}"
            yield from make_slices(rows, expected.schema, licence=licence, source=named)


def _fitting(
    readings: Sequence[tuple[int, SampleContent]], expected: Expected, refused: Counter[str]
) -> Iterator[tuple[int, SampleContent]]:
    flaws: dict[int, str] = {}
    for number, content in readings:
        if id(content) not in flaws:
            flaws[id(content)] = _flaw(content, expected)
        if flaw := flaws[id(content)]:
            refused[flaw] += 1
        else:
            yield number, content


def _flaw(content: SampleContent, expected: Expected) -> str:
    try:
        check_sample(content, expected)
    except UpdateRejectedError as error:
        return error.reason
    return ""


def rows_of(readings: Sequence[tuple[int, SampleContent]], expected: Expected, refused: Counter[str]) -> Mapping[str, np.ndarray[Any, Any]]:
    """Columns by name of readings that `check_sample` takes, without those that are not finite, out of range, or of a label or word that
    is not known here."""
    schema = expected.schema
    packed = np.dtype([(column.name, _stored(column), column.shape) for column in schema.columns])
    table = np.frombuffer(b"".join(content.reading(number) for number, content in readings), packed)
    columns = {column.name: _column(column, table[column.name], readings) for column in schema.columns}
    good = np.ones(len(table), bool)
    for reason, wrong in _wrong(columns, schema, expected):
        if found := int((wrong & good).sum()):
            refused[reason] += found
        good &= ~wrong
    return {name: array[good].astype(bool) if schema.by_name[name].dtype == "bool" else array[good] for name, array in columns.items()}


def _stored(column: Column) -> Any:
    return "u1" if column.words is not None or column.dtype == "bool" else column.row_dtype()


def _column(column: Column, values: Any, readings: Sequence[tuple[int, SampleContent]]) -> Any:
    """Native numbers; a text in the codes of the own words, -1 for one that is not known."""
    if column.words is None:
        return values.astype(values.dtype.newbyteorder("="))
    places = {word: place for place, word in enumerate(column.words)}
    known: dict[int, list[int]] = {}
    for _, content in readings:
        if id(content) not in known:
            known[id(content)] = [places.get(word, -1) for word in content.words]
    codes = [known[id(content)] for _, content in readings]
    return np.array([mine[code] if code < len(mine) else -1 for mine, code in zip(codes, values, strict=True)], CODE)


def _wrong(columns: Mapping[str, Any], schema: Schema, expected: Expected) -> Iterator[tuple[str, Any]]:
    for column in schema.columns:
        values = columns[column.name]
        if column.floating:
            yield "non-finite", _any(~np.isfinite(values))
        elif column.words is not None:
            yield "words", values < 0
        elif column.dtype == "bool":
            yield "schema", _any(values > 1)
    for name, (low, high) in expected.ranges.items():
        yield "range", _any((columns[name] < low) | (columns[name] > high))
    if (label := schema.label_column) is not None and expected.labels is not None:
        values = columns[label.name]
        unknown = [value for value in np.unique(values) if _name(label, value) not in expected.labels]
        yield "labels", _any(np.isin(values, unknown))


def _name(label: Column, value: Any) -> str:
    if label.words is not None:
        return label.words[value] if value >= 0 else ""
    return str(bool(value)) if label.dtype == "bool" else str(value.item())


def _any(wrong: Any) -> Any:
    return wrong.reshape(len(wrong), -1).any(axis=1)
