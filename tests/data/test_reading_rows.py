"""Readings of which a slice is made, though what is wanted has changed since they were heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from learnae.data.fitting import Expected
from learnae.data.gathered import ReadyReadings
from learnae.data.reading_rows import slices_of
from learnae.data.readings import ReadingFormat, SampleContent, declared, open_sample
from learnae.records import PeerId

ANN = PeerId("a" * 64)
WANTED = {"a": "float32", "b": "float32"}


def heard(columns: Mapping[str, str], first: int, count: int = 2, licence: str = "CC0-1.0") -> list[tuple[int, SampleContent]]:
    packing = ReadingFormat(declared(columns), licence)
    sample = open_sample(packing.payload(first, [packing.pack(dict.fromkeys(columns, first + place)) for place in range(count)]))
    return [(first + place, sample) for place in range(count)]


@pytest.mark.parametrize("others", [{**WANTED, "c": "float32"}, {"a": "float32"}, {"a": "float32", "z": "float32"}, {"a": "float64"}])
def test_readings_of_other_columns_are_left_out_and_counted(others: Mapping[str, str]) -> None:
    refused = Counter[str]()
    ready = ReadyReadings(ANN, [*heard(others, 0), *heard(WANTED, 2, 3)])
    (made,) = slices_of(ready, Expected(schema=declared(WANTED)), refused)
    assert made.columns["b"].tolist() == [2.0, 3.0, 4.0] and refused == {"schema": 2}
    assert not list(slices_of(ReadyReadings(ANN, heard(others, 0)), Expected(schema=declared(WANTED)), refused))


def test_readings_of_another_length_than_their_schema_are_left_out() -> None:
    (number, sample), *_ = heard(WANTED, 0, 1)
    refused, short = Counter[str](), SampleContent(sample.schema, 0, 1, sample.data[:-1], licence=sample.licence)
    assert not list(slices_of(ReadyReadings(ANN, [(number, short)]), Expected(schema=declared(WANTED)), refused))
    assert refused == {"schema": 1}


def test_readings_under_a_licence_that_is_accepted_no_more_are_left_out() -> None:
    refused: Counter[str] = Counter()
    ready: Any = ReadyReadings(ANN, [*heard(WANTED, 0, licence="MIT"), *heard(WANTED, 2)])
    (made,) = slices_of(ready, Expected(schema=declared(WANTED), licences=["CC0-1.0"]), refused)
    assert (made.count, made.about.licence, refused) == (2, "CC0-1.0", {"licence": 2})
