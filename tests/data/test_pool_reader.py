"""What a worker of a DataLoader reads: by the path alone, as the pool grows and shrinks."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from learnae.data import pool_reader
from learnae.data.pool import Pool
from learnae.data.pool_file import ReadIndex
from learnae.data.pool_reader import PoolReader
from learnae.data.schema import schema_of
from learnae.errors import ConfigError, UnavailableError
from learnae.identity.home_folder import HomeFolder
from learnae.records import Cid, PeerId
from tests.support.slices import images, one_slice, root_of

ANNA, BERT = PeerId("1" * 64), PeerId("2" * 64)
PLENTY = 1 << 30
OWN = schema_of(images(), "y")


def add(home: Path, seed: int, peer: PeerId = ANNA) -> Cid:
    made = one_slice(images(seed=seed))
    Pool(home, PLENTY).add(root_of(made), made, peer)
    return root_of(made)


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_a_reader_sees_what_was_added_bit_for_bit(tmp_path: Path) -> None:
    root = add(tmp_path, 3)
    reader = PoolReader(tmp_path, OWN)
    assert reader.refresh() and reader.rows == 20
    columns = reader.columns(root)
    for name, array in images(seed=3).items():
        assert columns[name].dtype == array.dtype and np.array_equal(columns[name], array)


def test_it_notices_growth_and_forgetting_and_that_nothing_has_changed(tmp_path: Path) -> None:
    reader = PoolReader(tmp_path, OWN)
    assert not reader.refresh() and reader.slices == ()
    first = add(tmp_path, 1)
    assert reader.refresh() and not reader.refresh()
    second = add(tmp_path, 2, BERT)
    assert reader.refresh() and [one.root for one in reader.slices] == [first, second]
    version = reader.version
    Pool(tmp_path, PLENTY).forget(ANNA)
    assert reader.refresh() and [one.root for one in reader.slices] == [second] and reader.version > version


def test_what_was_mapped_stays_and_what_is_gone_is_said_to_be(tmp_path: Path) -> None:
    roots = [add(tmp_path, seed) for seed in (1, 2)]
    reader = PoolReader(tmp_path)
    reader.refresh()
    mapped = reader.columns(roots[0])["x"]
    Pool(tmp_path, PLENTY).forget(ANNA)
    assert np.array_equal(mapped, images(seed=1)["x"])
    with pytest.raises(UnavailableError):
        reader.columns(roots[1])
    reader.refresh()
    with pytest.raises(UnavailableError):
        reader.columns(roots[0])


def test_rows_of_another_schema_are_not_seen(tmp_path: Path) -> None:
    add(tmp_path, 1)
    for other in (schema_of(images()), schema_of({"x": np.zeros((1, 4, 4)), "y": np.zeros(1, int)}, "y")):
        reader = PoolReader(tmp_path, other)
        reader.refresh()
        assert reader.slices == ()


def test_rows_in_words_that_this_peer_has_added_to_are_seen_and_in_others_not(tmp_path: Path) -> None:
    codes = {"c": np.array([0, 1], np.int32)}
    made = one_slice(codes, None, {"c": ("a", "b")})
    Pool(tmp_path, PLENTY).add(root_of(made), made, ANNA)
    for words, seen in ((("a", "b", "c"), 1), (("b", "a"), 0), (("a",), 0)):
        reader = PoolReader(tmp_path, schema_of(codes, None, {"c": words}))
        reader.refresh()
        assert len(reader.slices) == seen


def test_few_descriptors_are_open_however_many_slices_there_are(tmp_path: Path) -> None:
    roots = [add(tmp_path, seed) for seed in range(12)]
    before = descriptors()
    reader = PoolReader(tmp_path, OWN, most_open=3)
    reader.refresh()
    for _ in range(3):
        assert all(reader.columns(root)["y"].sum() >= 0 for root in roots)
    assert descriptors() - before <= 3 + 2
    reader.close()
    assert descriptors() <= before
    assert np.array_equal(reader.columns(roots[4])["y"], images(seed=4)["y"]), "it opens again what it needs"
    del reader
    assert descriptors() <= before


def test_a_folder_that_was_exchanged_is_noticed(tmp_path: Path) -> None:
    add(tmp_path, 1)
    reader = PoolReader(tmp_path)
    reader.refresh()
    (tmp_path / "data").rename(tmp_path / "old")
    (tmp_path / "old" / "pool.json").unlink()
    second = add(tmp_path, 2)
    assert reader.refresh() and [one.root for one in reader.slices] == [second]
    assert np.array_equal(reader.columns(second)["x"], images(seed=2)["x"])


def sums(reader: PoolReader) -> list[int]:
    """In a process of its own."""
    reader.refresh()
    return [int(reader.columns(one.root)["y"].sum()) for one in reader.slices]


def test_a_worker_gets_a_reader_of_its_own(tmp_path: Path) -> None:
    add(tmp_path, 1)
    reader = PoolReader(tmp_path, OWN)
    reader.refresh()
    reader.columns(reader.slices[0].root)
    add(tmp_path, 2)
    with multiprocessing.get_context("spawn").Pool(1) as workers:
        assert workers.apply(sums, (reader,)) == [int(images(seed=seed)["y"].sum()) for seed in (1, 2)]
        workers.close()
        workers.join()
    another = copy.copy(reader)  # as pickle does it
    assert (another.home, another.schema, another.slices) == (reader.home, reader.schema, ())


@pytest.mark.parametrize("damage", ["cut off", "longer", "another header", "link", "pipe"])
def test_a_file_that_is_not_what_it_should_be_is_refused(tmp_path: Path, damage: str) -> None:
    root = add(tmp_path, 1)
    file = tmp_path / "data" / "pool" / f"{root}.safetensors"
    whole = file.read_bytes()
    file.unlink()
    match damage:
        case "cut off":
            file.write_bytes(whole[:-1])
        case "longer":
            file.write_bytes(whole + b"x")
        case "another header":
            file.write_bytes(whole.replace(b'"F32"', b'"I32"'))
        case "link":
            (tmp_path / "elsewhere").write_bytes(whole)
            file.symlink_to(tmp_path / "elsewhere")
        case "pipe":
            os.mkfifo(file)
    reader = PoolReader(tmp_path)
    reader.refresh()
    with pytest.raises(ConfigError):
        reader.columns(root)


@pytest.mark.parametrize("place", ["data", "data/pool.json", "data/pool"])
def test_a_link_in_a_home_is_not_followed(tmp_path: Path, place: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    root = add(home, 1)
    (home / place).rename(tmp_path / "elsewhere")
    (home / place).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError):
        read(home, root)


def read(home: Path, root: Cid) -> None:
    reader = PoolReader(home)
    reader.refresh()
    reader.columns(root)


def test_an_index_without_an_end_is_not_read(tmp_path: Path) -> None:
    add(tmp_path, 1)
    os.truncate(tmp_path / "data" / "pool.json", 1 << 40)  # sparse
    with pytest.raises(ConfigError):
        PoolReader(tmp_path).refresh()


def test_a_pipe_in_the_place_of_the_index_keeps_nobody_waiting(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "data" / "pool.json")
    with pytest.raises(ConfigError):
        PoolReader(tmp_path).refresh()
    with pytest.raises(ConfigError):
        Pool(tmp_path, PLENTY).entries()


def test_others_read_the_files_of_a_pool_as_safetensors(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    table = {name: np.array([1, 0, 1]).astype(name) for name in ("bool", "float16", "float64", "int8", "uint16", "int64")}
    made = one_slice(table, None)
    Pool(tmp_path, PLENTY).add(root_of(made), made, ANNA)
    loaded = load_file(tmp_path / "data" / "pool" / f"{root_of(made)}.safetensors")
    assert all(np.array_equal(loaded[name], array) and loaded[name].dtype == array.dtype for name, array in table.items())


def test_an_index_that_takes_long_is_not_read_at_each_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(pool_reader.time, "monotonic", lambda: now[0])
    read, reads = pool_reader.read_index, []

    def slow(data: HomeFolder, before: ReadIndex) -> ReadIndex:
        now[0] += 0.2
        reads.append(now[0])
        return read(data, before)

    monkeypatch.setattr(pool_reader, "read_index", slow)
    reader = PoolReader(tmp_path)
    for seed in range(12):
        add(tmp_path, seed)
        reader.refresh()
        now[0] += 0.5
    assert len(reads) <= 5
    now[0] += 8.0
    reader.refresh()
    assert len(reader.slices) == 12
