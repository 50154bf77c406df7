"""The index of a pool on the disk: a line for each slice that comes, whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learnae.data import pool_file
from learnae.data.pool import Pool
from learnae.data.pool_reader import PoolReader
from learnae.data.slices import SliceRows
from learnae.errors import ConfigError
from learnae.records import Cid, PeerId
from tests.support.slices import images, one_slice, root_of

ANNA, BERT = PeerId("a" * 64), PeerId("b" * 64)
PLENTY = 1 << 30


def some(seed: int = 0, label: str = "y") -> tuple[Cid, SliceRows]:
    made = one_slice(images(3, seed=seed)) if label == "y" else one_slice({**images(3, seed=seed), "z": images(3)["y"]})
    return root_of(made), made


def index_of(home: Path) -> Path:
    return home / "data" / "pool.json"


def roots(pool: Pool) -> list[Cid]:
    return [one.root for one in pool.entries()]


def test_a_slice_that_comes_is_a_line_behind_what_was_there(tmp_path: Path) -> None:
    pool = Pool(tmp_path, PLENTY)
    pool.add(*some(0), ANNA)
    before, inode = index_of(tmp_path).read_bytes(), index_of(tmp_path).stat().st_ino
    pool.add(*some(1), BERT)
    after = index_of(tmp_path).read_bytes()
    assert index_of(tmp_path).stat().st_ino == inode
    assert after.startswith(before) and after.count(b"\n") == 2
    assert roots(pool) == roots(Pool(tmp_path, PLENTY)) == [some(0)[0], some(1)[0]]


def test_of_a_line_that_was_cut_off_nothing_counts_and_the_next_one_stands_in_its_place(tmp_path: Path) -> None:
    pool = Pool(tmp_path, PLENTY)
    for seed in range(3):
        pool.add(*some(seed), ANNA)
    whole = index_of(tmp_path).read_bytes()
    start = whole[:-1].rfind(b"\n") + 1
    for end in (start, start + 1, (start + len(whole)) // 2, len(whole) - 1):
        index_of(tmp_path).write_bytes(whole[:end])
        assert roots(Pool(tmp_path, PLENTY)) == [some(0)[0], some(1)[0]]
        again = Pool(tmp_path, PLENTY)
        assert again.add(*some(7), BERT).kept
        assert roots(again) == roots(Pool(tmp_path, PLENTY)) == [some(0)[0], some(1)[0], some(7)[0]]


def test_whoever_has_read_it_reads_what_came_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, reader = Pool(tmp_path, PLENTY), PoolReader(tmp_path)
    pool.add(*some(0), ANNA)
    assert reader.refresh()
    monkeypatch.setattr(pool_file, "decode_index", None)  # the whole
    for seed in range(1, 5):
        pool.add(*some(seed), ANNA)
        assert reader.refresh()
    assert [one.root for one in reader.slices] == [some(seed)[0] for seed in range(5)]


def test_another_file_in_its_place_is_read_as_a_whole(tmp_path: Path) -> None:
    """Also where it has the inode of the one before, which a file system gives again."""
    pool, reader = Pool(tmp_path, PLENTY), PoolReader(tmp_path)
    for seed in range(3):
        pool.add(*some(seed), ANNA)
    reader.refresh()
    (tmp_path / "other").mkdir(mode=0o700)
    Pool(tmp_path / "other", PLENTY).add(*some(9), ANNA)
    with open(index_of(tmp_path), "r+b") as file:
        file.truncate()
        file.write(index_of(tmp_path / "other").read_bytes())
    assert reader.refresh()
    assert [one.root for one in reader.slices] == roots(pool) == [some(9)[0]]


def test_a_slice_of_a_new_schema_has_the_whole_written_anew(tmp_path: Path) -> None:
    pool = Pool(tmp_path, PLENTY)
    pool.add(*some(0), ANNA)
    pool.add(*some(1, "z"), ANNA)
    assert index_of(tmp_path).read_bytes().count(b"\n") == 1
    pool.add(*some(2, "z"), ANNA)
    pool.add(*some(3), ANNA)
    assert roots(Pool(tmp_path, PLENTY)) == roots(pool) == [some(0)[0], some(1, "z")[0], some(2, "z")[0], some(3)[0]]


def test_a_pool_that_is_full_for_long_has_no_file_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_file, "_LINES_BYTES", 2_000)
    (tmp_path / "one").mkdir(mode=0o700)
    Pool(tmp_path / "one", PLENTY).add(*some(0), ANNA)
    pool, largest = Pool(tmp_path, 3 * Pool(tmp_path / "one", PLENTY).usage().bytes), 0
    for seed in range(60):
        assert pool.add(*some(seed), ANNA).kept
        largest = max(largest, index_of(tmp_path).stat().st_size)
    assert roots(pool) == roots(Pool(tmp_path, PLENTY)) == [some(seed)[0] for seed in (57, 58, 59)]
    assert largest < 8_000


def test_a_disk_that_is_full_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(tmp_path, PLENTY)
    pool.add(*some(0), ANNA)
    write, room = os.pwrite, [20]

    def some_room(descriptor: int, content: bytes, place: int) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, content[: room.pop()], place)

    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", some_room)
        with pytest.raises(OSError, match="No space left"):
            pool.add(*some(1), ANNA)
    assert not room
    assert roots(pool) == roots(Pool(tmp_path, PLENTY)) == [some(0)[0]]
    assert pool.add(*some(1), ANNA).kept
    assert roots(pool) == roots(Pool(tmp_path, PLENTY)) == [some(0)[0], some(1)[0]]


NONSENSE = (b"{}", b"7", b"", b'{"slice": {}, "gone": []}', b'{"slice": {}, "gone": ["nothing"]}', b"\xff")


@pytest.mark.parametrize("line", NONSENSE)
def test_a_line_that_says_nothing_is_damage(tmp_path: Path, line: bytes) -> None:
    pool, reader = Pool(tmp_path, PLENTY), PoolReader(tmp_path)
    pool.add(*some(0), ANNA)
    reader.refresh()
    with open(index_of(tmp_path), "ab") as file:
        file.write(line + b"\n")
    for look in (pool.entries, Pool(tmp_path, PLENTY).entries, reader.refresh):
        with pytest.raises(ConfigError, match="move it away"):
            look()


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("yz"), st.sampled_from([ANNA, BERT]), st.integers(0, 9)), max_size=16))
def test_two_writers_a_reader_and_whoever_comes_anew_see_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str, PeerId, int]]
) -> None:
    home = tmp_path_factory.mktemp("home")
    pools, reader = [Pool(home, 3_000), Pool(home, 3_000)], PoolReader(home)
    for seed, label, peer, choice in steps:
        pool = pools[choice % 2]
        if choice == 9:
            pool.forget(peer)
            pool.allow(peer)
        else:
            pool.add(*some(seed, label), peer)
        reader.refresh()
        assert list(reader.slices) == list(Pool(home, 3_000).entries()) == list(pools[0].entries()) == list(pools[1].entries())
