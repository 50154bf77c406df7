"""What a peer gives of its own rows: nothing beyond the limit, whole or not at all, and the same each time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.content.encryption import AesSiv
from learnae.data.own import GIVEN, IdArray, OwnSlices, row_ids, rows_to_share
from learnae.data.schema import schema_of
from learnae.data.slices import make_slices, open_slice
from learnae.errors import ConfigError, UnavailableError
from learnae.records import BLOCK_BYTES, Block, Cid
from tests.support.slices import fetched, images, one_slice, root_of

KEY = AesSiv(bytes(range(AesSiv.KEY_BYTES)))


def test_what_was_put_is_found_and_offered_with_its_root(tmp_path: Path) -> None:
    made = one_slice(images(), licence="CC0-1.0", source="a camera")
    (root,) = OwnSlices(tmp_path).replace([made], most_rows=20)
    assert OwnSlices(tmp_path).roots() == (root,) == (root_of(made),)
    rows, packed = OwnSlices(tmp_path).load(root)
    assert (packed.packed.root, packed.announced.rows, rows.about) == (root, 20, made.about)
    assert open_slice(fetched(packed.packed), packed.announced).about.source == "a camera"


def test_in_a_private_swarm_the_same_file_is_offered_sealed(tmp_path: Path) -> None:
    (root,) = OwnSlices(tmp_path).replace([one_slice(images())], most_rows=20)
    _, sealed = OwnSlices(tmp_path).load(root, KEY)
    assert sealed.announced.root == sealed.packed.root != root
    assert root_of(open_slice(fetched(sealed.packed, KEY))) == root
    assert all(len(block.data) <= BLOCK_BYTES for block in sealed.packed.blocks if isinstance(block, Block))


def test_what_is_not_given_any_more_goes_and_what_stays_is_not_written_again(tmp_path: Path) -> None:
    own = OwnSlices(tmp_path)
    first, second, third = (one_slice(images(seed=seed)) for seed in range(3))
    own.replace([first, second], most_rows=100)
    before = (tmp_path / "data" / "own" / f"{root_of(second)}.safetensors").stat().st_ino
    own.replace([second, third], most_rows=100)
    assert set(own.roots()) == {root_of(second), root_of(third)}
    assert (tmp_path / "data" / "own" / f"{root_of(second)}.safetensors").stat().st_ino == before


def test_more_rows_than_the_limit_are_refused_and_nothing_is_added(tmp_path: Path) -> None:
    own = OwnSlices(tmp_path)
    own.replace([one_slice(images(seed=7))], most_rows=20)
    with pytest.raises(ConfigError, match="more than 39 rows"):
        own.replace((one_slice(images(seed=seed)) for seed in range(2)), most_rows=39)
    assert own.roots() == (root_of(one_slice(images(seed=7))),)


def watched(own: OwnSlices, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Cid, ...]]:
    """What the node would find before each call that changes the folder."""
    seen: list[tuple[Cid, ...]] = []
    for name in ("fsync", "replace", "unlink"):
        call = getattr(os, name)

        def look(*arguments: Any, call: Callable[..., Any] = call, **named: Any) -> Any:
            seen.append(own.roots())
            return call(*arguments, **named)

        monkeypatch.setattr(os, name, look)
    return seen


def test_no_slice_appears_before_it_is_whole_and_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = OwnSlices(tmp_path)
    seen = watched(own, monkeypatch)
    (root,) = own.replace([one_slice(images())], most_rows=20)
    assert seen[:2] == [(), ()] and seen[-1] == (root,)


def test_never_more_rows_are_there_than_the_limit_while_some_are_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = OwnSlices(tmp_path)
    own.replace([one_slice(images(seed=seed)) for seed in range(3)], most_rows=60)
    seen = watched(own, monkeypatch)
    own.replace([one_slice(images(seed=seed)) for seed in range(2, 5)], most_rows=60)
    assert max(map(len, seen)) <= 3 and min(map(len, seen)) == 1, "what stays is there all the time"


def test_who_gives_nothing_any_more_leaves_nothing(tmp_path: Path) -> None:
    own = OwnSlices(tmp_path)
    own.clear()
    (root,) = own.replace([one_slice(images())], most_rows=20)
    (tmp_path / "data" / "own" / f"{root}.safetensors.new").write_bytes(b"half")
    own.clear()
    assert own.roots() == () and list((tmp_path / "data" / "own").iterdir()) == []
    with pytest.raises(UnavailableError):
        own.load(root)


def test_a_file_that_was_changed_is_not_offered(tmp_path: Path) -> None:
    own = OwnSlices(tmp_path)
    (root,) = own.replace([one_slice(images())], most_rows=20)
    file = tmp_path / "data" / "own" / f"{root}.safetensors"
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), whole[8:], b"", b"\xff" * 100, whole.replace(b'"F32"', b'"I32"')):
        file.write_bytes(damaged)
        with pytest.raises(ConfigError):
            own.load(root)


def test_a_pipe_or_a_link_in_its_place_is_not_opened(tmp_path: Path) -> None:
    own = OwnSlices(tmp_path)
    (root,) = own.replace([one_slice(images())], most_rows=20)
    file = tmp_path / "data" / "own" / f"{root}.safetensors"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError):
        own.load(root)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ConfigError):
        own.load(root)


def ids_of(count: int, seed: int = 0) -> IdArray:
    return np.random.default_rng(seed).integers(0, 2**64, count, np.uint64)


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        ({}, 0),
        ({"most_rows": 30}, 30),
        ({"fraction": 0.05}, 5),
        ({"most_rows": 3, "fraction": 0.05}, 3),
        ({"most_rows": 1000}, 100),
        ({"fraction": 0.0}, 0),
    ],
)
def test_no_more_rows_are_chosen_than_the_limits_allow(limits: dict[str, float], count: int) -> None:
    chosen = rows_to_share(ids_of(100), **limits)  # type: ignore[arg-type]
    assert len(set(chosen.tolist())) == count == len(chosen) and chosen.tolist() == sorted(chosen.tolist())


def test_a_peer_that_starts_again_gives_the_same_rows(tmp_path: Path) -> None:
    rows = images(200)
    schema = schema_of(rows, "y")
    for _ in range(2):
        chosen = OwnSlices(tmp_path).choose(row_ids(rows, schema, "a"), most_rows=None, fraction=0.1)
        OwnSlices(tmp_path).replace(make_slices({name: array[chosen] for name, array in rows.items()}, schema), most_rows=20)
    assert len(OwnSlices(tmp_path).roots()) == 1
    assert not np.array_equal(chosen, rows_to_share(row_ids(rows, schema, "b"), fraction=0.1))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 60), st.integers(0, 9))
def test_each_label_gives_the_same_part_of_its_rows_up_to_one(kinds: list[int], most: int, seed: int) -> None:
    labels = np.array(kinds)
    chosen = rows_to_share(ids_of(len(kinds), seed), most_rows=most, labels=labels)
    assert len(chosen) == min(most, len(kinds)) == len(set(chosen))
    for kind in set(kinds):
        exact = len(chosen) * kinds.count(kind) / len(kinds)
        assert abs(int((labels[chosen] == kind).sum()) - exact) <= 1


def chosen_ids(home: Path, ids: IdArray, most: int | None = 200, fraction: float | None = None, **more: Any) -> set[int]:
    return set(ids[OwnSlices(home).choose(ids, most_rows=most, fraction=fraction, **more)].tolist())


def test_data_that_grow_give_no_rows_beyond_the_limit_however_often_a_peer_starts(tmp_path: Path) -> None:
    ids = ids_of(4000)
    given = [chosen_ids(tmp_path, ids[: 1000 + 100 * start], labels=np.arange(1000 + 100 * start) % 7) for start in range(30)]
    assert all(some == given[0] for some in given) and len(given[0]) == 200


def test_rows_that_move_or_are_shuffled_stay_the_ones_that_are_given(tmp_path: Path) -> None:
    ids = ids_of(1000)
    first = chosen_ids(tmp_path, ids)
    assert chosen_ids(tmp_path, ids[::-1]) == first == chosen_ids(tmp_path, np.concatenate([ids_of(500, seed=1), ids]))


def test_a_share_of_data_that_grow_is_one_of_all_that_was_ever_given(tmp_path: Path) -> None:
    ids = ids_of(2000)
    small = chosen_ids(tmp_path, ids[:1000], None, 0.1)
    assert len(small) == 100 and small < (large := chosen_ids(tmp_path, ids, None, 0.1)) and len(large) == 200
    assert len(chosen_ids(tmp_path, ids[:1000], None, 0.1)) <= 100, "less data, a smaller share"
    assert chosen_ids(tmp_path, ids, None, 0.1) == large


def test_what_was_given_counts_where_it_is_there_no_more_until_the_limit_allows_others(tmp_path: Path) -> None:
    ids = ids_of(1000)
    first = chosen_ids(tmp_path, ids)
    left = np.array([one for one in ids.tolist() if one not in first], np.uint64)
    assert chosen_ids(tmp_path, left) == set()
    half = np.concatenate([left, np.array(sorted(first)[:50], np.uint64)])
    assert chosen_ids(tmp_path, half) == set(sorted(first)[:50])
    assert len(chosen_ids(tmp_path, left, 230)) == 30


def test_what_was_given_counts_after_the_consent_was_taken_back(tmp_path: Path) -> None:
    first = chosen_ids(tmp_path, ids_of(1000))
    OwnSlices(tmp_path).clear()
    assert chosen_ids(tmp_path, ids_of(1000, seed=1)) == set() and chosen_ids(tmp_path, ids_of(1000)) == first


def test_equal_rows_count_each(tmp_path: Path) -> None:
    ids = np.repeat(ids_of(10), 100)
    one, other = (OwnSlices(tmp_path).choose(ids[:length], most_rows=200, fraction=None) for length in (900, 1000))
    assert len(one) == 200 and one.tolist() == other.tolist()


def test_a_damaged_record_of_what_was_given_is_told_and_gives_nothing(tmp_path: Path) -> None:
    chosen_ids(tmp_path, ids_of(10))
    (tmp_path / "data" / GIVEN).write_bytes(b"half of")
    with pytest.raises(ConfigError, match="is damaged"):
        chosen_ids(tmp_path, ids_of(10))


def test_a_row_is_known_by_its_text_and_numbers_and_not_by_the_codes_of_its_words() -> None:
    rows = {"n": np.array([1, 2, 3]), "w": np.array([0, 1, 0], np.int32)}
    one = row_ids(rows, schema_of(rows, words={"w": ("cat", "dog")}), "a")
    moved = {"n": np.array([3, 2, 1]), "w": np.array([1, 2, 1], np.int32)}
    other = row_ids(moved, schema_of(moved, words={"w": ("bee", "cat", "dog")}), "a")
    assert one.tolist() == other[::-1].tolist() and len(set(one.tolist())) == 3
