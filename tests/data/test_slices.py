"""Rows to slices and back: the same rows are the same slice, and what does not hold is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from learnae.content.encryption import AesSiv
from learnae.content.pack import Packed, pack
from learnae.data.about import About, encode_about
from learnae.data.fitting import Expected, fit
from learnae.data.schema import DTYPES, MOST_ROWS, MOST_SLICE_BYTES, schema_of
from learnae.data.slices import CODEC, make_slices, open_slice, pack_slice, rows_from, tensors_of
from learnae.errors import ConfigError, UpdateRejectedError
from learnae.records import NOBODY, AnnouncementKind, Encoded, PeerId, TensorSpec
from tests.support.slices import fetched, images, one_slice, root_of

DTYPES_IN_ORDER = sorted(DTYPES)


def finite(dtype: str) -> st.SearchStrategy[Any]:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return arrays_of.from_dtype(kind, allow_nan=False, allow_infinity=False)
    return arrays_of.from_dtype(kind)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, np.ndarray[Any, Any]]:
    count = draw(st.integers(1, 8))
    shapes = st.lists(st.integers(1, 3), max_size=2).map(tuple)
    names = draw(st.lists(st.sampled_from(["a", "b", "image", "Z"]), min_size=1, unique=True))
    dtypes = {name: draw(st.sampled_from(DTYPES_IN_ORDER)) for name in names}
    return {name: draw(arrays_of.arrays(dtype, (count, *draw(shapes)), elements=finite(dtype))) for name, dtype in dtypes.items()}


@given(tables())
def test_what_was_packed_comes_back_bit_for_bit(table: dict[str, np.ndarray[Any, Any]]) -> None:
    made = one_slice(table, None)
    opened = open_slice(fetched(pack_slice(made).packed))
    assert opened.schema == made.schema and opened.about == made.about
    assert all(opened.columns[name].tobytes() == array.tobytes() for name, array in table.items())


@given(tables(), st.sampled_from(["fortran", "steps", "big-endian", "other order of columns"]))
def test_the_same_rows_have_the_same_root_however_they_lie_in_memory(table: dict[str, np.ndarray[Any, Any]], how: str) -> None:
    changes: dict[str, Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]] = {
        "fortran": np.asfortranarray,
        "steps": lambda array: np.repeat(array, 2, axis=0)[::2],
        "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
        "other order of columns": lambda array: array,
    }
    changed = {name: changes[how](table[name]) for name in reversed(table)}
    assert root_of(one_slice(changed, None)) == root_of(one_slice(table, None))


def test_other_rows_other_labels_and_another_source_have_other_roots() -> None:
    rows = images()
    other = {**rows, "y": rows["y"] + 1}
    roots = {
        root_of(one_slice(rows)),
        root_of(one_slice(other)),
        root_of(one_slice(rows, None)),
        root_of(one_slice(rows, source="a camera")),
    }
    assert len(roots) == 4


def test_who_packs_again_what_came_has_the_same_blocks() -> None:
    packed = pack_slice(one_slice(images(), licence="CC0-1.0")).packed
    assert pack_slice(open_slice(fetched(packed))).packed == packed


def test_a_sealed_slice_comes_back_and_has_a_root_of_its_own() -> None:
    made, key = one_slice(images()), AesSiv(bytes(range(AesSiv.KEY_BYTES)))
    sealed = pack_slice(made, key).packed
    assert sealed.root != root_of(made)
    assert root_of(open_slice(fetched(sealed, key))) == root_of(made)


def test_an_announcement_says_rows_labels_and_schema() -> None:
    rows = {"x": np.zeros((5, 2), np.float32), "y": np.array([7, 1, 7, 7, 1])}
    made = pack_slice(one_slice(rows))
    assert (made.announced.root, made.announced.bytes) == (made.packed.root, made.packed.bytes)
    assert (made.announced.rows, dict(made.announced.labels)) == (5, {"1": 2, "7": 3})
    assert made.announced.schema == schema_of(rows, "y").digest


def test_rows_are_cut_in_their_order_by_number_and_by_bytes() -> None:
    rows = images(10)
    schema = schema_of(rows, "y")
    assert [made.count for made in make_slices(rows, schema, most_rows=4)] == [4, 4, 2]
    assert [made.count for made in make_slices(rows, schema, most_bytes=3 * schema.row_bytes)] == [3, 3, 3, 1]
    assert [made.count for made in make_slices(rows, schema, most_bytes=1)] == [1] * 10
    joined = np.concatenate([made.columns["x"] for made in make_slices(rows, schema, most_rows=4)])
    assert np.array_equal(joined, rows["x"])


def test_no_slice_has_more_than_a_stranger_may_claim() -> None:
    rows = {"x": np.zeros(MOST_ROWS + 1, np.uint8)}
    made = list(make_slices(rows, schema_of(rows), most_rows=1 << 30, most_bytes=1 << 40))
    assert [one.count for one in made] == [MOST_ROWS, 1]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused_by_column_and_row(wrong: float) -> None:
    rows = images(10)
    rows["x"][7, 2, 1] = wrong
    with pytest.raises(ConfigError, match="'x', row 7"):
        list(make_slices(rows, schema_of(rows, "y"), most_rows=4))


def test_the_words_of_a_slice_are_those_that_occur_in_it() -> None:
    rows = {"carrier": np.array([2, 0, 2], np.int32)}
    made = one_slice(rows, "carrier", {"carrier": ("UA", "secret", "AA")})
    assert made.schema.by_name["carrier"].words == ("AA", "UA")
    assert made.columns["carrier"].tolist() == [0, 1, 0]
    assert dict(made.about.labels) == {"AA": 2, "UA": 1}
    again = one_slice({"carrier": np.array([0, 1, 0], np.int32)}, "carrier", {"carrier": ("AA", "UA")})
    assert root_of(again) == root_of(made)


def test_words_of_others_are_translated_into_the_own() -> None:
    theirs = one_slice({"c": np.array([0, 1], np.int32)}, None, {"c": ("b", "a")})
    own = schema_of({"c": np.zeros(1, np.int32)}, None, {"c": ("z", "b", "a")})
    fitted = fit(theirs, Expected(schema=own))
    assert fitted.columns["c"].tolist() == [1, 2] and fitted.schema == own


def test_a_code_without_a_word_is_refused_by_column_and_row() -> None:
    rows = {"c": np.array([0, 1, 2], np.int32)}
    with pytest.raises(ConfigError, match="'c', row 2"):
        list(make_slices(rows, schema_of(rows, None, {"c": ("a", "b")})))


def repacked(tensors: dict[str, np.ndarray[Any, Any]], **changes: Any) -> Packed:
    """As a stranger may."""
    entries = [
        (TensorSpec(name=name, dtype=array.dtype.name, shape=array.shape), Encoded(array.tobytes(), changes.get("notes", {})))
        for name, array in tensors.items()
    ]
    head = {"peer": NOBODY, "kind": AnnouncementKind.SLICE, "number": 0, "codec": CODEC, **changes}
    head.pop("notes", None)
    return pack(entries, **head)


@pytest.mark.parametrize(
    "changes",
    [{"peer": PeerId("1" * 64)}, {"kind": AnnouncementKind.UPDATE}, {"number": 1}, {"codec": "fp32"}],
    ids=lambda changes: next(iter(changes)),
)
def test_what_would_be_another_root_of_the_same_rows_is_no_slice(changes: dict[str, Any]) -> None:
    with pytest.raises(UpdateRejectedError, match="kind"):
        open_slice(fetched(repacked(tensors_of(one_slice(images())), **changes)))


def about_of(**changes: Any) -> np.ndarray[Any, Any]:
    return np.frombuffer(encode_about(attrs.evolve(one_slice(images()).about, **changes)), np.uint8)


def a_slice(**changes: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Its tensors, some in another form; None takes one away."""
    return {name: array for name, array in {**tensors_of(one_slice(images())), **changes}.items() if array is not None}


def spoilt() -> np.ndarray[Any, Any]:
    x = images()["x"]
    x[3, 0, 0] = np.nan
    return x


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (a_slice(about=None), "schema"),
        (a_slice(about=np.zeros(3, np.uint8)), "malformed"),
        (a_slice(about=np.zeros(1 << 17, np.uint8)), "schema"),
        (a_slice(about=about_of(label="z")), "schema"),
        (a_slice(about=about_of(label="x")), "labels"),
        (a_slice(about=about_of(words={"y": ("a",)})), "schema"),
        (a_slice(about=about_of(words={"w": ("a",)})), "schema"),
        (a_slice(about=about_of(labels={"1": 20})), "labels"),
        (a_slice(about=about_of(labels={})), "labels"),
        (a_slice(about=about_of(sketch=bytes(128))), "sketch"),
        (a_slice(about=about_of(sketch=b"")), "sketch"),
        (a_slice(x=spoilt()), "non-finite"),
        (a_slice(x=images(19)["x"]), "schema"),
        (a_slice(x=np.float32(1)), "schema"),
        (a_slice(x=np.zeros((20, 0), np.float32)), "schema"),
        (a_slice(a=np.zeros(20)), "schema"),  # behind y: not in its order
        (a_slice(x=None, y=None), "schema"),
        (a_slice(z=np.full(20, 7, np.uint8).view(bool)), "schema"),
        (a_slice(x=np.zeros((20, 1 << 20), np.uint8)), "schema"),
    ],
)  # fmt: skip
def test_a_slice_that_lies_is_refused_with_the_reason(tensors: dict[str, np.ndarray[Any, Any]], reason: str) -> None:
    with pytest.raises(UpdateRejectedError) as refused:
        rows_from(tensors)
    assert refused.value.reason == reason


def test_words_that_no_row_has_or_in_another_order_are_refused() -> None:
    codes = np.array([0, 1], np.int32)
    for words, values in ((("b", "a"), codes), (("a", "b", "c"), codes), (("a", "b"), codes - 1), (("a", "a"), codes)):
        tensors = {"about": np.frombuffer(encode_about(About(words={"c": words})), np.uint8), "c": values}
        with pytest.raises(UpdateRejectedError):
            rows_from(tensors)


def test_what_an_announcement_says_must_be_what_comes() -> None:
    made = pack_slice(one_slice(images()))
    content = fetched(made.packed)
    for body in (made.announced, attrs.evolve(made.announced, labels={}), attrs.evolve(made.announced, sketch=b"")):
        assert open_slice(content, body).count == 20
    for lie in ({"rows": 21}, {"schema": bytes(8)}, {"labels": {"3": 20}}, {"sketch": bytes(128)}):
        with pytest.raises(UpdateRejectedError, match="announced"):
            open_slice(content, attrs.evolve(made.announced, **lie))


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        ({"schema": schema_of({"x": np.zeros((1, 4, 4), np.float64), "y": np.zeros(1, int)}, "y")}, "schema"),
        ({"schema": schema_of({"x": np.zeros((1, 4, 5), np.float32), "y": np.zeros(1, int)}, "y")}, "schema"),
        ({"schema": schema_of(images())}, "schema"),
        ({"labels": {"0", "1"}}, "labels"),
        ({"ranges": {"x": (0.0, 0.5)}}, "range"),
        ({"licences": {"CC0-1.0"}}, "licence"),
    ],
)
def test_rows_that_do_not_fit_the_own_are_refused_with_the_reason(expected: dict[str, Any], reason: str) -> None:
    with pytest.raises(UpdateRejectedError) as refused:
        fit(one_slice(images(), licence="MIT"), Expected(**{"schema": schema_of(images(), "y"), **expected}))
    assert refused.value.reason == reason


def test_rows_that_fit_pass() -> None:
    made = one_slice(images(), licence="MIT")
    known = {str(digit) for digit in range(10)}
    expected = Expected(schema=schema_of(images(1), "y"), labels=known, ranges={"x": (0, 1)}, licences={"MIT"})
    assert fit(made, expected).columns["y"].tolist() == images()["y"].tolist()


def test_what_came_cannot_be_written_to() -> None:
    opened = open_slice(fetched(pack_slice(one_slice(images())).packed))
    with pytest.raises(ValueError, match="read-only"):
        opened.columns["x"][0] = 0


def test_rows_that_do_not_fit_their_schema_are_named() -> None:
    schema = schema_of(images(), "y")
    for arrays, named in (
        ({"x": images()["x"]}, "'y'"),
        ({**images(), "z": np.zeros(20)}, "'z'"),
        ({**images(), "y": np.zeros(20, np.int32)}, "'y'"),
        ({**images(), "y": np.zeros(19, int)}, "different lengths"),
    ):
        with pytest.raises(ConfigError, match=named):
            list(make_slices(arrays, schema))


def test_the_largest_slice_comes_through() -> None:
    rows = {"x": np.arange(MOST_SLICE_BYTES // 4, dtype=np.int32).reshape(-1, 1 << 10)}
    (made,) = make_slices(rows, schema_of(rows), most_bytes=MOST_SLICE_BYTES)
    assert np.array_equal(open_slice(fetched(pack_slice(made).packed)).columns["x"], rows["x"])


def test_of_another_schema_than_was_announced_no_value_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    announced = pack_slice(one_slice(images())).announced
    other = fetched(pack_slice(one_slice({"wide": np.zeros((20, 100), np.float32), "y": np.arange(20)})).packed)
    monkeypatch.setattr("learnae.data.slices.sketch_of", lambda *_: pytest.fail("it was looked at"))
    with pytest.raises(UpdateRejectedError) as error:
        open_slice(other, announced)
    assert error.value.reason == "announced"
