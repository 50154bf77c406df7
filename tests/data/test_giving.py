"""Rows that a function of the user returns, in whatever form, become slices that a trainer with the same rows would have made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learnae.data.giving import GivenRows, give
from learnae.data.own import OwnSlices
from learnae.errors import ConfigError
from learnae.records import Cid

RULES = GivenRows(most_rows=10, licence="CC0-1.0")
FEATURES = np.arange(80, dtype=np.float32).reshape(40, 2)
LABELS = np.arange(40) % 4


@pytest.fixture
def given(tmp_path: Path):
    def give_rows(rows: Any, rules: GivenRows = RULES, peer: str = "a" * 64) -> tuple[int, tuple[Cid, ...]]:
        home = tmp_path / f"home-{peer[0]}"
        home.mkdir(mode=0o700, exist_ok=True)
        count = give(rows, home, rules, peer=peer, folder=tmp_path).rows
        return count, OwnSlices(home).roots()

    return give_rows


def write_csv(path: Path) -> None:
    lines = ["a,b,label", *(f"{row[0]},{row[1]},{label}" for row, label in zip(FEATURES, LABELS, strict=True))]
    path.write_text("\n".join(lines) + "\n")


def test_a_pair_is_features_and_label_as_in_a_data_set_of_a_trainer(given, tmp_path: Path) -> None:
    count, (root,) = given((FEATURES, LABELS))
    rows, _ = OwnSlices(tmp_path / "home-a").load(root)
    assert (count, set(rows.columns), rows.schema.label) == (10, {"features", "label"}, "label")


@pytest.mark.parametrize("form", ["table", "npz"])
def test_the_same_rows_in_another_form_are_the_same_slices(given, tmp_path: Path, form: str) -> None:
    np.savez(tmp_path / "rows.npz", features=FEATURES, label=LABELS)
    forms = {"table": {"features": FEATURES, "label": LABELS}, "npz": "rows.npz"}
    assert given(forms[form])[1] == given((FEATURES, LABELS))[1]


def test_each_label_gives_its_part(given, tmp_path: Path) -> None:
    _, (root,) = given((FEATURES, LABELS), GivenRows(fraction=0.1, licence="CC0-1.0"))
    rows, _ = OwnSlices(tmp_path / "home-a").load(root)
    assert dict(rows.about.labels) == {"0": 1, "1": 1, "2": 1, "3": 1}


def test_a_file_is_read_in_pieces_from_beside_the_peers_file(given, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    write_csv(tmp_path / "rows.csv")
    count, (root,) = given("rows.csv")
    rows, _ = OwnSlices(tmp_path / "home-a").load(root)
    assert (count, set(rows.columns), rows.about.labels.keys()) == (10, {"a", "b", "label"}, {"0", "1", "2", "3"})


def test_another_peer_gives_others_of_the_same_rows_and_each_the_same_ones_again(given) -> None:
    first = given((FEATURES, LABELS))
    assert given((FEATURES, LABELS)) == first != given((FEATURES, LABELS), peer="b" * 64)


@pytest.mark.parametrize("rows", [None, 7, (), "rows.npz", np.zeros((0, 2), np.float32), [[1, 2], [3]], Ellipsis], ids=repr)
def test_what_holds_no_rows_is_an_error_that_says_what_to_return(given, rows: Any) -> None:
    with pytest.raises(ConfigError):
        given(rows)


ROWS = [[float(10 * person + column) for column in range(6)] for person in range(20)]


@pytest.mark.parametrize(
    "rows",
    [ROWS, ROWS[:2], tuple(ROWS), tuple(ROWS[:2]), [*np.array(ROWS)], tuple(np.array(ROWS)), tuple(np.array(ROWS)[:2]), [np.array(ROWS)]],
    ids=["list", "list of two", "tuple", "tuple of two", "list of arrays", "tuple of arrays", "two arrays that are rows", "list of one"],
)
def test_rows_are_never_taken_for_columns_which_would_give_a_part_of_all(given, rows: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="may be rows"):
        given(rows, GivenRows(most_rows=3, licence="CC0-1.0"))
    assert OwnSlices(tmp_path / "home-a").roots() == ()


def test_one_array_gives_whole_rows_of_its_first_dimension(given, tmp_path: Path) -> None:
    count, (root,) = given(np.array(ROWS), GivenRows(most_rows=3, licence="CC0-1.0"))
    rows, _ = OwnSlices(tmp_path / "home-a").load(root)
    assert count == 3 and all(row in ROWS for row in rows.columns["features"].tolist())


def test_a_table_that_grows_gives_the_rows_that_it_gave_and_says_where_it_gives_fewer(given, tmp_path: Path) -> None:
    first = given((FEATURES, LABELS))
    more = np.concatenate([FEATURES, FEATURES + 100]), np.concatenate([LABELS, LABELS])
    assert given(more) == first
    found = give((FEATURES + 100, LABELS), tmp_path / "home-a", RULES, peer="a" * 64, folder=tmp_path)
    assert (found.rows, found.allowed, OwnSlices(tmp_path / "home-a").roots()) == (0, 10, ())
