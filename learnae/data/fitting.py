"""Whether the rows of others fit those that a peer trains on, and the same rows in its own words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import attrs
import numpy as np

from learnae.data.schema import Column, Schema
from learnae.data.slices import SliceRows, closed, first_row, recoded
from learnae.errors import UpdateRejectedError


@attrs.frozen(kw_only=True)
class Expected:
    """What a peer asks of the rows of others: its own schema, and where they are given the labels and licences that it knows, and ranges
    by column."""

    schema: Schema
    labels: Collection[str] | None = None
    ranges: Mapping[str, tuple[float, float]] = attrs.field(factory=dict)
    licences: Collection[str] | None = None


def fit(rows: SliceRows, expected: Expected) -> SliceRows:
    """The same rows in the words of the own schema. Raises UpdateRejectedError("licence", "schema", "words", "labels" or "range")."""
    if expected.licences is not None and rows.about.licence not in expected.licences:
        raise UpdateRejectedError("licence", f"its licence is {rows.about.licence or 'not named'}, which is not accepted")
    if rows.schema.digest != expected.schema.digest:
        raise UpdateRejectedError("schema", _difference(expected.schema, rows.schema))
    columns = {column.name: _translated(rows, column) for column in expected.schema.columns}
    fitted = SliceRows(expected.schema, {name: closed(array) for name, array in columns.items()}, rows.about)
    if expected.labels is not None and (unknown := _labels(rows) - set(expected.labels)):
        raise UpdateRejectedError("labels", f"a label that is not known here: {min(unknown)}")
    for name, (low, high) in expected.ranges.items():
        _check_range(name, columns[name], low, high)
    return fitted


def _difference(own: Schema, theirs: Schema) -> str:
    for name in sorted(own.by_name.keys() | theirs.by_name.keys()):
        mine, other = own.by_name.get(name), theirs.by_name.get(name)
        if _kind(mine) != _kind(other):
            return f"column {name!r} is {_kind(other)} there and {_kind(mine)} here"
    return f"the label is {theirs.label} there and {own.label} here"


def _kind(column: Column | None) -> str:
    if column is None:
        return "missing"
    return "text" if column.words is not None else f"{column.dtype} {column.shape}"


def _translated(rows: SliceRows, own: Column) -> Any:
    codes, theirs = rows.columns[own.name], rows.schema.by_name[own.name]
    if own.words is None or theirs.words is None or own.words == theirs.words:
        return codes
    if unknown := set(theirs.words) - set(own.words):
        raise UpdateRejectedError("words", f"column {own.name!r} has a word that is not known here: {min(unknown)}")
    return recoded(codes, theirs.words, own.words)


def _labels(rows: SliceRows) -> set[str]:
    column = rows.schema.label_column
    if column is None:
        return set()
    if column.words is not None:
        return set(column.words)
    values = np.unique(rows.columns[column.name])
    return {str(value.item()) for value in values}


def _check_range(name: str, values: np.ndarray[Any, Any], low: float, high: float) -> None:
    wrong = (values < low) | (values > high)
    if wrong.any():
        raise UpdateRejectedError("range", f"column {name!r}, row {first_row(wrong)}: outside of {low} to {high}")
