"""The pool of others' rows: who offered what, what goes when it is full, and who is forgotten."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learnae.data import pool as pool_module
from learnae.data.fitting import Expected, fit
from learnae.data.pool import Pool
from learnae.data.pool_index import PooledSlice, PoolIndex, encode_index, entry_bytes
from learnae.data.schema import dump_schema, schema_of
from learnae.data.slices import SliceRows
from learnae.errors import ConfigError, UnavailableError, UpdateRejectedError
from learnae.records import Cid, PeerId
from tests.support.slices import images, one_slice, root_of

ANNA, BERT, CARL = (PeerId(digit * 64) for digit in "123")
PLENTY = 1 << 30


def some(seed: int = 0, count: int = 20) -> tuple[Cid, SliceRows]:
    made = one_slice(images(count, seed), licence="CC0-1.0", source=f"camera {seed}")
    return root_of(made), made


def size_of_one(folder: Path) -> int:
    pool = Pool(folder / "another", PLENTY)
    (folder / "another").mkdir()
    pool.add(*some(), ANNA)
    return pool.usage().bytes


def files(home: Path) -> set[str]:
    return {path.name for path in (home / "data" / "pool").iterdir()}


def test_what_was_added_is_listed_in_the_order_in_which_it_came(tmp_path: Path) -> None:
    pool = Pool(tmp_path, PLENTY)
    slices = [some(seed) for seed in (5, 2, 9)]
    assert all(pool.add(root, rows, ANNA).kept for root, rows in slices)
    assert [one.root for one in pool.entries()] == [root for root, _ in slices]
    first = pool.entries()[0]
    assert (first.rows, first.licence, first.source, first.providers) == (20, "CC0-1.0", "camera 5", (ANNA,))
    assert first.schema == slices[0][1].schema and dict(first.labels) == dict(slices[0][1].about.labels)
    assert pool.usage().bytes == sum(path.stat().st_size for path in (tmp_path / "data" / "pool").iterdir())
    assert pool.usage().rows == 60


def test_a_home_without_a_pool_is_an_empty_one_and_stays_as_it_is(tmp_path: Path) -> None:
    assert Pool(tmp_path, PLENTY).entries() == ()
    assert list(tmp_path.iterdir()) == []


def test_one_root_is_kept_once_and_all_who_offered_it_are_noted(tmp_path: Path) -> None:
    pool = Pool(tmp_path, PLENTY)
    for peer in (ANNA, BERT, ANNA):
        assert pool.add(*some(), peer).kept
    (one,) = pool.entries()
    assert one.providers == (ANNA, BERT)
    assert pool.usage().bytes_by_provider == {ANNA: one.bytes}


def test_all_who_offer_what_is_there_are_noted_in_one_change_and_each_once(tmp_path: Path) -> None:
    pool = Pool(tmp_path, PLENTY)
    for seed in range(3):
        pool.add(*some(seed), ANNA)
    pool.forget(CARL)
    pool.note({some(0)[0]: [BERT, CARL, ANNA], some(2)[0]: [BERT], some(7)[0]: [BERT]})
    assert [one.providers for one in pool.entries()] == [(ANNA, BERT), (ANNA,), (ANNA, BERT)]
    assert pool.usage().bytes_by_provider.keys() == {ANNA}, "each counts for the one from whom it came"
    assert pool.forget(ANNA) == (some(1)[0],)


def test_where_the_quota_is_full_the_oldest_of_the_provider_with_the_most_goes(tmp_path: Path) -> None:
    pool = Pool(tmp_path, 3 * size_of_one(tmp_path))
    for seed, peer in enumerate([ANNA, BERT, BERT]):
        pool.add(*some(seed), peer)
    assert pool.add(*some(3), CARL).evicted == (some(1)[0],)
    assert [one.root for one in pool.entries()] == [some(seed)[0] for seed in (0, 2, 3)]
    assert files(tmp_path) == {f"{one.root}.safetensors" for one in pool.entries()}


def test_who_sends_much_displaces_itself_alone(tmp_path: Path) -> None:
    pool = Pool(tmp_path, 4 * size_of_one(tmp_path))
    pool.add(*some(0), ANNA)
    pool.add(*some(1), BERT)
    for seed in range(2, 20):
        pool.add(*some(seed), CARL)
    assert {one.root for one in pool.entries()} == {some(seed)[0] for seed in (0, 1, 18, 19)}


@pytest.mark.parametrize("bound", ["MOST_SLICES", "MOST_ENTRY_BYTES"])
def test_who_fills_the_index_with_small_slices_displaces_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    """However much room is left for bytes."""
    pool = Pool(tmp_path, PLENTY)
    pool.add(*some(0), ANNA)
    monkeypatch.setattr(pool_module, bound, 6 if bound == "MOST_SLICES" else 6 * entry_bytes(pool.entries()[0]))
    for seed in range(1, 12):
        assert pool.add(*some(seed), CARL).kept
    assert pool.add(*some(20), BERT).kept
    assert len(pool.entries()) == 6
    assert {one.providers[0] for one in pool.entries()} == {ANNA, BERT, CARL}


@settings(max_examples=30)
@given(st.text(max_size=256).filter(str.isprintable), st.dictionaries(st.text(max_size=64).filter(str.isprintable), st.integers(1, 65536)))
def test_no_entry_is_longer_than_it_is_counted(text: str, labels: dict[str, int]) -> None:
    peers = tuple(PeerId(f"{number:064x}") for number in range(16))
    schema = schema_of(images(), "y")
    one = PooledSlice(root=some()[0], schema=schema, rows=1, bytes=1 << 24, providers=peers, labels=labels, licence=text[:64], source=text)
    empty = len(encode_index(PoolIndex())) + len(json.dumps(dump_schema(schema)))
    assert len(encode_index(PoolIndex((one,)))) - empty <= entry_bytes(one)


def test_a_slice_that_has_no_place_displaces_nothing(tmp_path: Path) -> None:
    pool = Pool(tmp_path, 2 * size_of_one(tmp_path))
    pool.add(*some(0), ANNA)
    refused = pool.add(*some(1, count=200), BERT)
    assert not refused.kept and "accept_bytes" in refused.reason
    assert [one.root for one in pool.entries()] == [some(0)[0]]


def test_with_no_quota_nothing_is_kept(tmp_path: Path) -> None:
    pool = Pool(tmp_path, 0)
    assert not pool.add(*some(), ANNA).kept
    assert pool.entries() == ()


def test_forgetting_removes_what_only_this_peer_offered_and_refuses_it_from_then_on(tmp_path: Path) -> None:
    pool = Pool(tmp_path, PLENTY)
    pool.add(*some(0), ANNA)
    pool.add(*some(1), ANNA)
    pool.add(*some(1), BERT)
    assert pool.forget(ANNA) == (some(0)[0],)
    (left,) = pool.entries()
    assert (left.root, left.providers) == (some(1)[0], (BERT,))
    with pytest.raises(UpdateRejectedError, match="forgotten"):
        pool.add(*some(2), ANNA)
    assert pool.index().forgotten == (ANNA,)
    assert len(files(tmp_path)) == 1


def test_who_is_allowed_again_is_kept_again(tmp_path: Path) -> None:
    pool = Pool(tmp_path, PLENTY)
    pool.forget(ANNA)
    pool.allow(ANNA)
    assert pool.add(*some(), ANNA).kept


def test_a_start_removes_what_nobody_names_and_names_nothing_that_is_gone(tmp_path: Path) -> None:
    pool = Pool(tmp_path, PLENTY)
    for seed in range(3):
        pool.add(*some(seed), ANNA)
    folder = tmp_path / "data" / "pool"
    (folder / f"{some(0)[0]}.safetensors").unlink()
    (folder / f"{some(1)[0]}.safetensors").write_bytes(b"cut off")
    stray = some(7)[0]
    (folder / f"{stray}.safetensors").write_bytes(b"not named")
    (folder / f"{stray}.safetensors.new").write_bytes(b"half")
    (folder / "notes.txt").write_text("the user's")
    assert set(pool.clean()) == {some(0)[0], some(1)[0]}
    assert files(tmp_path) == {f"{some(2)[0]}.safetensors", "notes.txt"}
    assert [one.root for one in pool.entries()] == [some(2)[0]]


def test_a_smaller_quota_holds_from_the_next_start(tmp_path: Path) -> None:
    for seed in range(4):
        Pool(tmp_path, PLENTY).add(*some(seed), ANNA)
    smaller = Pool(tmp_path, 2 * size_of_one(tmp_path))
    assert smaller.clean() == (some(0)[0], some(1)[0])
    assert len(smaller.entries()) == 2


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 7), st.sampled_from([ANNA, BERT, CARL]), st.booleans()), max_size=14))
def test_whatever_happens_the_quota_holds_and_each_file_has_its_entry(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, PeerId, bool]]
) -> None:
    home = tmp_path_factory.mktemp("home")
    pool = Pool(home, 5_000)
    (home / "data" / "pool").mkdir(parents=True)
    for seed, peer, forgets in steps:
        if forgets:
            pool.forget(peer)
            pool.allow(peer)
            assert all(peer not in one.providers for one in pool.entries())
        else:
            pool.add(*some(seed, count=5 * seed + 1), peer)
        assert pool.usage().bytes <= 5_000
        assert files(home) == {f"{one.root}.safetensors" for one in pool.entries()}


def test_rows_with_words_lie_there_in_the_words_of_this_peer(tmp_path: Path) -> None:
    theirs = one_slice({"c": np.array([0, 1, 0], np.int32)}, "c", {"c": ("b", "a")})
    own = schema_of({"c": np.zeros(1, np.int32)}, "c", {"c": ("z", "b", "a")})
    pool = Pool(tmp_path, PLENTY)
    pool.add(root_of(theirs), fit(theirs, Expected(schema=own)), ANNA)
    (one,) = pool.entries()
    assert one.schema == own and dict(one.labels) == {"a": 1, "b": 2}


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"v":2}', b"[" * 100_000, b'{"v":1,"schemas":{},"slices":[7],"forgotten":[]}'])
def test_a_damaged_index_is_told_with_what_to_do(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "pool.json").write_bytes(text)
    for call in (Pool(tmp_path, PLENTY).entries, Pool(tmp_path, PLENTY).clean):
        with pytest.raises(ConfigError, match="move it away"):
            call()


def test_two_who_change_a_pool_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    def fill(seeds: range) -> None:
        for seed in seeds:
            Pool(tmp_path, PLENTY).add(*some(seed), ANNA)

    threads = [threading.Thread(target=fill, args=(range(start, start + 6),)) for start in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.root for one in Pool(tmp_path, PLENTY).entries()} == {
        some(seed)[0] for start in (0, 100) for seed in range(start, start + 6)
    }


def test_who_holds_the_lock_for_long_keeps_others_waiting_no_longer_than_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_LOCK_SECONDS", 0.0)
    pool = Pool(tmp_path, PLENTY)
    pool.add(*some(), ANNA)
    with open(tmp_path / "data" / "pool.lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UnavailableError, match="another process"):
            pool.forget(ANNA)
        assert len(pool.entries()) == 1, "reading needs no lock"
    assert pool.forget(ANNA) == (some()[0],)


@pytest.mark.parametrize("name", ["pool.lock", "pool.json", "pool"])
@pytest.mark.parametrize("what", ["link", "pipe"])
def test_what_somebody_else_put_into_a_home_is_not_followed_and_keeps_nobody_waiting(tmp_path: Path, name: str, what: str) -> None:
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    if what == "pipe":
        os.mkfifo(home / "data" / name)
    else:
        (tmp_path / "elsewhere").mkdir() if name == "pool" else (tmp_path / "elsewhere").touch()
        (home / "data" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError):
        Pool(home, PLENTY).add(*some(), ANNA)
    with pytest.raises(ConfigError):
        Pool(home, PLENTY).clean()
    elsewhere = tmp_path / "elsewhere"
    assert not elsewhere.exists() or (list(elsewhere.iterdir()) if elsewhere.is_dir() else elsewhere.read_bytes()) in ([], b"")


def test_a_full_disk_leaves_the_pool_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(tmp_path, PLENTY)
    pool.add(*some(0), ANNA)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        pool.add(*some(1), ANNA)
    monkeypatch.undo()
    assert [one.root for one in pool.entries()] == [some(0)[0]] and len(files(tmp_path)) == 1
    assert pool.add(*some(1), ANNA).kept


def test_a_peer_that_learns_words_one_by_one_keeps_all_its_slices_under_the_longest_list(tmp_path: Path) -> None:
    pool, words = Pool(tmp_path, PLENTY), tuple(f"word {number:03}" for number in range(100))
    for count in range(1, 101):
        theirs = one_slice({"c": np.full(1, count - 1, np.int32)}, None, {"c": words})
        own = schema_of({"c": np.zeros(1, np.int32)}, None, {"c": words[:count]})
        assert pool.add(root_of(theirs), fit(theirs, Expected(schema=own)), ANNA).kept
    assert {one.schema.by_name["c"].words for one in pool.entries()} == {words}
