"""The schema of rows, and what it says where an array does not do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from learnae.data.schema import MOST_COLUMNS, MOST_SLICE_BYTES, Column, Schema, dump_schema, load_schema, schema_of
from learnae.errors import ConfigError, UpdateRejectedError
from tests.support.slices import images


def test_columns_stand_in_the_order_of_their_names() -> None:
    schema = schema_of({"y": np.zeros(3, np.int64), "x": np.zeros((3, 2, 2), np.float32)}, "y")
    assert schema.columns == (Column("x", "float32", (2, 2)), Column("y", "int64"))
    assert schema.row_bytes == 24 and schema.label_column == schema.columns[1]


def test_the_digest_is_of_names_dtypes_shapes_label_and_what_is_text_and_of_nothing_else() -> None:
    codes = np.zeros(3, np.int32)
    arrays: list[Any] = [
        ({"a": codes},),
        ({"b": codes},),
        ({"a": codes.astype(np.int64)},),
        ({"a": codes.reshape(3, 1)},),
        ({"a": codes}, "a"),
        ({"a": codes}, None, {"a": ["u"]}),
        ({"a": codes, "b": codes},),
    ]
    digests = [schema_of(*one).digest for one in arrays]
    assert len(set(digests)) == len(digests) and {len(digest) for digest in digests} == {8}
    assert schema_of({"a": codes}, None, {"a": ["v", "w"]}).digest == digests[5]
    assert schema_of({"a": codes[:1].astype(">i4")}).digest == digests[0]


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"a": np.array(["x"])}, "'a'.*words"),
        ({"a": np.array([object()])}, "'a'"),
        ({"a": np.zeros(2, complex)}, "'a'.*complex128"),
        ({"a": np.float32(3)}, "'a'"),
        ({"a": [1, 2]}, "'a'"),
        ({"a": np.zeros((2, 0))}, "dimension of a"),
        ({"about": np.zeros(2)}, "about"),
        ({"\n": np.zeros(2)}, "name"),
        ({"": np.zeros(2)}, "name"),
        ({}, "number of columns"),
        ({str(number): np.zeros(1) for number in range(MOST_COLUMNS + 1)}, "number of columns"),
        ({"a": np.broadcast_to(np.zeros(1, np.uint8), (1, MOST_SLICE_BYTES + 1))}, "one row"),
    ],
)
def test_what_cannot_be_a_column_is_named(arrays: Any, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        schema_of(arrays)


def test_a_label_or_words_of_no_column_are_named_with_the_columns_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'z'.*x, y"):
        schema_of(images(), "z")
    with pytest.raises(ConfigError, match=r"'z'.*x, y"):
        schema_of(images(), None, {"z": ["a"]})


@pytest.mark.parametrize("words", [["a", "a"], ["\x1b"], ["w" * 65], [str(number) for number in range(5000)]])
def test_words_that_peers_would_refuse_are_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError):
        schema_of({"a": np.zeros(1, np.int32)}, None, {"a": words})


def test_codes_must_be_of_one_dtype_so_that_peers_agree() -> None:
    with pytest.raises(ConfigError, match="int32"):
        schema_of({"a": np.zeros(1, np.int64)}, None, {"a": ["u"]})


def test_a_schema_comes_back_from_json() -> None:
    for schema in (schema_of(images(), "y"), schema_of({"c": np.zeros(1, np.int32)}, None, {"c": ["a", "b"]})):
        assert load_schema(dump_schema(schema)) == schema


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            [],
            {},
            {"label": None, "columns": 3},
            {"label": None, "columns": []},
            {"label": "q", "columns": [["a", "int8", [], None]]},
        ),
        *(
            {"label": None, "columns": [row]}
            for row in (
                *([], ["a", "int8", []], ["a", "S4000000", [], None], ["a", "int8", [-1], None], ["a", "int8", [1 << 40], None]),
                *(
                    ["a", "int8", [1] * 99, None],
                    [3, "int8", [], None],
                    ["a", "int32", [], [3]],
                    ["a", "int8", ["2"], None],
                    ["a", [], [], None],
                ),
            )
        ),
    ],
)
def test_no_other_json_is_a_schema(value: Any) -> None:
    with pytest.raises(UpdateRejectedError):
        load_schema(value)


def test_rows_of_another_schema_are_covered_where_they_mean_the_same() -> None:
    def words(*of: str) -> Schema:
        return schema_of({"c": np.zeros(1, np.int32)}, None, {"c": of})

    assert words("a", "b").covers(words("a")) and words("a").covers(words("a"))
    assert not words("a").covers(words("a", "b")) and not words("b", "a").covers(words("a"))
    assert not words("a").covers(schema_of({"c": np.zeros(1, np.int32)}))
