"""Rows from arrays and from files, a chunk at a time."""

from __future__ import annotations

import datetime
import decimal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learnae.data.own import rows_to_share
from learnae.data.reading import Chunk, TableOptions, count_rows, pick_rows, read_chunks
from learnae.data.schema import schema_of
from learnae.data.slices import make_slices
from learnae.errors import ConfigError
from tests.support.slices import images, root_of

pa = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install learnae[tables]")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install learnae[tables]")

FLIGHTS = "carrier,delay,distance\nUA,2.5,1400\nAA,-1.0,1089\nUA,4,1416\nB6,0,1576\nAA,3,762\n"


def csv(folder: Path, text: str = FLIGHTS, name: str = "flights.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def as_parquet(folder: Path, **columns: Any) -> Path:
    path = folder / "table.parquet"
    parquet.write_table(pa.table(columns), path)
    return path


def joined(chunks: Sequence[Chunk], name: str) -> list[Any]:
    """With words for codes."""
    column = chunks[-1].schema.by_name[name]
    values = [value for chunk in chunks for value in chunk.rows[name].tolist()]
    return values if column.words is None else [column.words[code] for code in values]


def test_a_csv_becomes_numbers_and_codes(tmp_path: Path) -> None:
    chunks = list(read_chunks(csv(tmp_path), TableOptions(label="carrier", chunk_rows=2)))
    assert [chunk.count for chunk in chunks] == [2, 2, 1]
    assert joined(chunks, "carrier") == ["UA", "AA", "UA", "B6", "AA"]
    assert joined(chunks, "delay") == [2.5, -1.0, 4.0, 0.0, 3.0]
    assert chunks[0].schema.by_name["carrier"].words == ("UA", "AA") and chunks[-1].schema.by_name["carrier"].words == ("UA", "AA", "B6")
    assert {column.name: column.dtype for column in chunks[0].schema.columns} == {
        "carrier": "int32",
        "delay": "float64",
        "distance": "int64",
    }
    assert chunks[-1].schema.covers(chunks[0].schema)


def test_tabs_and_parquet_give_the_same_slices(tmp_path: Path) -> None:
    tabs = csv(tmp_path, FLIGHTS.replace(",", "\t"), "flights.tsv")
    columns = {"carrier": ["UA", "AA", "UA", "B6", "AA"], "delay": [2.5, -1.0, 4.0, 0.0, 3.0], "distance": [1400, 1089, 1416, 1576, 762]}
    arrays = {name: np.array(values) for name, values in columns.items()}
    roots = [
        [root_of(made) for chunk in read_chunks(source) for made in make_slices(chunk.rows, chunk.schema)]
        for source in (csv(tmp_path), tabs, as_parquet(tmp_path, **columns), arrays)
    ]
    assert roots[0] == roots[1] == roots[2] == roots[3]


def test_all_kinds_of_columns_of_parquet_become_numbers(tmp_path: Path) -> None:
    day, at = datetime.date(1970, 1, 3), datetime.datetime(1970, 1, 1, 0, 0, 5)
    path = as_parquet(
        tmp_path,
        flag=pa.array([True, False]),
        half=pa.array(np.array([1, 2], np.float16)),
        byte=pa.array([1, 2], pa.uint8()),
        day=pa.array([day, day]),
        at=pa.array([at, at], pa.timestamp("ms")),
        time=pa.array([datetime.time(0, 0, 7)] * 2, pa.time32("s")),
        span=pa.array([datetime.timedelta(seconds=3)] * 2, pa.duration("ns")),
        price=pa.array([decimal.Decimal("1.25")] * 2),
        pixels=pa.array([[1, 2, 3], [4, 5, 6]], pa.list_(pa.uint8(), 3)),
        word=pa.array(["b", "a"]).dictionary_encode(),
    )
    (chunk,) = read_chunks(path)
    found = {name: array.tolist() for name, array in chunk.rows.items()}
    assert found == {
        "flag": [True, False], "half": [1.0, 2.0], "byte": [1, 2], "day": [2 * 86_400_000_000] * 2, "at": [5_000_000] * 2,
        "time": [7_000_000] * 2, "span": [3_000_000] * 2, "price": [1.25] * 2, "pixels": [[1, 2, 3], [4, 5, 6]], "word": [0, 1],
    }  # fmt: skip
    dtypes = {name: array.dtype.name for name, array in chunk.rows.items()}
    assert (dtypes["flag"], dtypes["half"], dtypes["byte"], dtypes["pixels"]) == ("bool", "float16", "uint8", "uint8")


def test_only_the_named_columns_are_read_in_the_named_dtypes(tmp_path: Path) -> None:
    options = TableOptions(columns=["delay", "distance"], dtypes={"delay": "float32", "distance": "int16"})
    for source in (
        csv(tmp_path),
        as_parquet(tmp_path, delay=[2.5], distance=[1400], more=["x"]),
        {"delay": [2.5], "distance": [9], "z": [1]},
    ):
        (chunk,) = read_chunks(source, options)  # type: ignore[arg-type] # lists do as well
        assert {name: array.dtype.name for name, array in chunk.rows.items()} == {"delay": "float32", "distance": "int16"}


def test_rows_without_a_value_are_named_or_left_out(tmp_path: Path) -> None:
    whole = "a,b\n" + "1,1.0\n" * 5
    sources: list[Any] = [
        csv(tmp_path, whole + ",2.0\n3,NA\n7,7.0\n"),
        as_parquet(tmp_path, a=[1] * 5 + [None, 3, 7], b=[1.0] * 5 + [2.0, float("nan"), 7.0]),
    ]
    for source in sources:
        with pytest.raises(ConfigError, match=r"'a'.*row 5"):
            list(read_chunks(source, TableOptions(chunk_rows=4)))
        chunks = list(read_chunks(source, TableOptions(chunk_rows=4, drop_missing=True)))
        assert joined(chunks, "a") == [1, 1, 1, 1, 1, 7] and joined(chunks, "b")[-1] == 7.0
        assert count_rows(source, TableOptions(drop_missing=True)) == 6


def test_a_chunk_of_which_all_rows_are_left_out_is_none(tmp_path: Path) -> None:
    path = csv(tmp_path, "a,w\nNA,x\nNA,y\n3,z\n")
    (chunk,) = read_chunks(path, TableOptions(chunk_rows=2, drop_missing=True))
    assert chunk.rows["a"].tolist() == [3]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a,b\n1\n", "flights.csv"),
        ("", "flights.csv"),
        ("w\n" + "y" * 65 + "\n", r"'w'.*row 0"),
        ("w\n" + "".join(f"w{number}\n" for number in range(5000)), r"'w'.*different"),
    ],
)
def test_what_cannot_become_rows_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        list(read_chunks(csv(tmp_path, text)))


def test_a_column_that_turns_into_text_far_behind_is_named_with_the_file(tmp_path: Path) -> None:
    path = csv(tmp_path, "a\n" + "1\n" * 1_000_000 + "x\n")
    with pytest.raises(ConfigError, match=r"flights.csv.*'x'.*dtypes"):
        list(read_chunks(path))


def test_a_file_that_is_not_there_or_no_table_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1" + bytes(100))
    for path in (tmp_path / "gone.csv", tmp_path / "notes.txt", tmp_path, broken):
        with pytest.raises(ConfigError, match=path.name):
            list(read_chunks(path))
    with pytest.raises(ConfigError, match="'c'"):
        list(read_chunks(as_parquet(tmp_path, a=[1]), TableOptions(columns=["c"])))
    with pytest.raises(ConfigError, match=r"'nested'.*columns"):
        list(read_chunks(as_parquet(tmp_path, nested=[[1], [2, 3]])))


def test_without_pyarrow_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"learnae\[tables\]"):
        list(read_chunks(csv(tmp_path)))
    assert [chunk.count for chunk in read_chunks(images(), TableOptions(chunk_rows=15))] == [15, 5], "arrays need none"


def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    numbers = np.arange(2_000_000.0)
    path = as_parquet(tmp_path, a=numbers, b=numbers)
    assert count_rows(path) == 2_000_000
    most = 0
    for chunk in read_chunks(path):
        most = max(most, pa.total_allocated_bytes())
        assert chunk.count <= 4096
    assert most < numbers.nbytes / 2
    text = csv(tmp_path, "a\n" + "\n".join(map(str, range(3_000_000))), "long.csv")
    assert max(pa.total_allocated_bytes() for _ in read_chunks(text)) < 3_000_000 * 8 / 2


def test_arrays_of_any_kind_have_columns() -> None:
    pairs = np.array([(1, 2.5), (3, 4.5)], [("a", "i4"), ("b", "f8")])
    (fields,) = read_chunks(pairs)
    assert {name: array.tolist() for name, array in fields.rows.items()} == {"a": [1, 3], "b": [2.5, 4.5]}
    (plain,) = read_chunks(np.zeros((3, 2, 2)))
    assert plain.schema == schema_of({"x": np.zeros((3, 2, 2))})
    for wrong in ({"a": np.zeros(2), "b": np.zeros(3)}, {}, {"a": np.float64(3)}):
        with pytest.raises(ConfigError):
            list(read_chunks(wrong))  # type: ignore[arg-type] # as a user may


def test_chosen_rows_are_picked_from_all_chunks(tmp_path: Path) -> None:
    rows = {"n": np.arange(1000), "w": np.array([f"word {number // 100}" for number in range(1000)])}
    chosen = rows_to_share(np.random.default_rng(0).integers(0, 2**64, 1000, np.uint64), fraction=0.1)
    picked = list(pick_rows(read_chunks(rows, TableOptions(chunk_rows=64)), chosen, chunk_rows=40))
    assert joined(picked, "n") == chosen.tolist()
    assert joined(picked, "w") == [f"word {number // 100}" for number in chosen]
    assert all(chunk.count >= 40 for chunk in picked[:-1])
