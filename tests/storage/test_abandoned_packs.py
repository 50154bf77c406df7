"""What peers that are gone for good have left in a shared folder goes, and nothing else does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from learnae.plugins.directory import packs
from learnae.plugins.directory.storage import DirectoryStorage, DirectoryStorageOptions
from learnae.testing.context import make_context, peer_named
from learnae.testing.published import fetched, payloads, published, same

DAY = 86_400.0
OLD, NEW = published("old", *payloads(3)), published("new", *payloads(3, seed=1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blocks"


def storage_in(folder: Path, peer: str, clock: Callable[[], float] = trio.current_time, days: float = 180.0) -> DirectoryStorage:
    context = make_context(folder.parent / peer, peer=peer, clock=clock)
    return DirectoryStorage(DirectoryStorageOptions(path=folder, abandoned_days=days), context)


def file_of(folder: Path, update: object, peer: str) -> Path:
    return folder / f"{update.root}.{peer_named(peer)}"  # type: ignore[attr-defined]


def age(path: Path, days: float) -> None:
    os.utime(path, (time.time() - days * DAY,) * 2)


async def put(folder: Path, peer: str, update: Any, days: float = 180.0) -> None:
    async with storage_in(folder, peer, days=days) as store:
        await store.put(update.root, update.blocks)


def removed_from(folder: Path, days: float = 180.0, start: float = 0.0) -> int:
    return sum(packs.remove_abandoned(folder, peer_named("alive"), time.time() - days * DAY, start))


async def test_a_pack_that_nobody_has_touched_for_long_is_removed_by_whoever_publishes_next_and_a_younger_one_is_not(folder: Path) -> None:
    for peer in ("gone", "asleep"):
        await put(folder, peer, OLD)
    age(file_of(folder, OLD, "gone"), 181)
    age(file_of(folder, OLD, "asleep"), 179)
    with capture_logs() as logs:
        await put(folder, "alive", NEW)
    assert sorted(folder.iterdir()) == sorted([file_of(folder, OLD, "asleep"), file_of(folder, NEW, "alive")])
    assert [(entry["event"], entry["removed"]) for entry in logs] == [("storage.abandoned", 1)]


async def test_a_peer_that_comes_back_after_long_keeps_its_own(folder: Path) -> None:
    await put(folder, "returns", OLD)
    age(file_of(folder, OLD, "returns"), 1000)
    await put(folder, "returns", NEW)
    assert len(list(folder.iterdir())) == 2
    await put(folder, "other", NEW)  # what the peer has kept counts as young again
    assert file_of(folder, OLD, "returns").exists()


async def test_a_peer_that_only_reads_shows_that_it_is_alive(folder: Path) -> None:
    await put(folder, "reader", OLD)
    await put(folder, "writer", NEW)
    age(file_of(folder, OLD, "reader"), 170)

    async with storage_in(folder, "reader") as store:
        assert same(await fetched(store, NEW.cids), NEW)
    assert time.time() - file_of(folder, OLD, "reader").stat().st_mtime < DAY


def test_it_is_looked_after_once_an_hour_and_not_in_each_round(folder: Path) -> None:
    now = 0.0

    async def work() -> None:
        nonlocal now
        async with storage_in(folder, "alive", clock=lambda: now) as store:
            await store.put(NEW.root, NEW.blocks)
            put_away = file_of(folder, OLD, "gone")
            put_away.write_bytes(b"")
            age(put_away, 200)
            await store.put(NEW.root, NEW.blocks)
            assert put_away.exists()
            now += 3601
            await store.put(NEW.root, NEW.blocks)
            assert not put_away.exists()

    trio.run(work)


@pytest.mark.parametrize("name", ["notes.txt", "new.{owner}.abc", "{root}", "{root}.{owner}.bak", "{root}.short", "x{root}.{owner}"])
async def test_a_file_that_is_not_named_as_a_storage_names_its_packs_is_left_alone(folder: Path, name: str) -> None:
    await put(folder, "alive", NEW)
    file = folder / name.format(root=OLD.root, owner=peer_named("gone"))
    file.write_bytes(b"mine")
    age(file, 10_000)
    assert removed_from(folder, days=1.0) == 0
    assert file.exists()


async def test_neither_links_nor_folders_are_removed(folder: Path, tmp_path: Path) -> None:
    await put(folder, "alive", NEW)
    (tmp_path / "elsewhere").write_text("of somebody else")
    age(tmp_path / "elsewhere", 10_000)
    file_of(folder, OLD, "link").symlink_to(tmp_path / "elsewhere")
    os.utime(file_of(folder, OLD, "link"), (0, 0), follow_symlinks=False)
    file_of(folder, OLD, "folder").mkdir()
    age(file_of(folder, OLD, "folder"), 10_000)
    assert removed_from(folder, days=1.0) == 0


def test_one_go_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    for number in range(10):
        path = file_of(folder, OLD, f"gone {number}")
        path.write_bytes(b"")
        age(path, 1000)
    monkeypatch.setattr(packs, "MOST_REMOVED", 4)
    assert removed_from(folder) == 4
    monkeypatch.setattr(packs, "MOST_LOOKED_AT", 1)
    assert removed_from(folder) == 1


def test_in_a_folder_too_large_for_one_go_each_pack_has_its_turn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    for number in range(10):
        path = file_of(folder, OLD, f"gone {number}")
        path.write_bytes(b"")
        age(path, 1000 if number == 7 else 1)
    monkeypatch.setattr(packs, "MOST_LOOKED_AT", 1)
    assert sum(removed_from(folder, start=place / 10) for place in range(10)) == 1


@pytest.mark.parametrize("wrong_by", [200 * DAY, -200 * DAY], ids=["ahead", "behind"])
async def test_a_peer_whose_clock_is_wrong_removes_nothing_of_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch, wrong_by: float
) -> None:
    """The times of files are those of the machine that keeps them."""
    await put(folder, "other", OLD)
    (folder / f"new.{peer_named('other')}.abc").write_bytes(b"being written")
    before = set(folder.iterdir())
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + wrong_by)
    await put(folder, "wrong", NEW)
    assert before < set(folder.iterdir())


async def test_a_peer_whose_clock_is_behind_shows_that_it_is_alive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(folder, "behind", OLD)
    age(file_of(folder, OLD, "behind"), 170)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 400 * DAY)
    await put(folder, "behind", NEW)
    assert real() - file_of(folder, OLD, "behind").stat().st_mtime < DAY


async def test_a_folder_that_cannot_be_cared_for_is_read_and_written_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("learnae.plugins.directory.storage.touch", broken)

    async with storage_in(folder, "alive") as store:
        await store.put(NEW.root, NEW.blocks)
        assert same(await fetched(store, NEW.cids), NEW)
