"""What the folder itself does: faults of disks, crashes, hostile names."""

from __future__ import annotations

import errno
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
from structlog.testing import capture_logs

from learnae.content.cids import raw_cid
from learnae.errors import UnavailableError
from learnae.plugins.directory.storage import DirectoryStorage, DirectoryStorageOptions
from learnae.records import BLOCK_BYTES, Block, Cid
from learnae.testing.context import make_context, peer_named
from learnae.testing.published import fetched, payloads, published, same

if TYPE_CHECKING:
    from pathlib import Path

ONE = published("one", *payloads(4))
TWO = published("two", *payloads(4, seed=1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blocks"


def storage_in(folder: Path, peer: str = "a") -> DirectoryStorage:
    return DirectoryStorage(DirectoryStorageOptions(path=folder), make_context(folder.parent / peer, peer=peer))


async def put(folder: Path, *updates: Any, peer: str = "a") -> None:
    async with storage_in(folder, peer) as store:
        for update in updates:
            await store.put(update.root, update.blocks)


def file_of(folder: Path, update: Any, peer: str = "a") -> Path:
    return folder / f"{update.root}.{peer_named(peer)}"


def test_without_a_path_the_folder_is_in_the_meeting_place(tmp_path: Path) -> None:
    context = make_context(tmp_path / "home", meeting=tmp_path / "meeting")
    assert DirectoryStorage(DirectoryStorageOptions(), context).folder == tmp_path / "meeting" / "blocks"


async def test_a_root_is_one_file_and_its_drop_leaves_none(folder: Path) -> None:
    await put(folder, ONE)
    assert list(folder.iterdir()) == [file_of(folder, ONE)]

    async with storage_in(folder) as store:
        await store.drop(ONE.root)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("lost", [1, 48, 1000], ids=["a byte", "the trailer", "a block"])
async def test_a_file_cut_short_is_removed_at_the_next_start_and_nothing_else(folder: Path, lost: int) -> None:
    await put(folder, ONE, TWO)
    damaged = file_of(folder, ONE)
    os.truncate(damaged, damaged.stat().st_size - lost)

    with capture_logs() as logs:
        async with storage_in(folder) as store:
            assert list(await store.roots()) == [TWO.root]
            assert same(await fetched(store, TWO.cids), TWO)
            with pytest.raises(UnavailableError) as caught:
                await fetched(store, ONE.cids)
            assert set(caught.value.missing) == set(ONE.cids)
    assert [entry["event"] for entry in logs] == ["storage.damaged"]
    assert not damaged.exists()


async def test_a_damaged_block_is_missing_and_reported_once(folder: Path) -> None:
    await put(folder, ONE)
    with file_of(folder, ONE).open("r+b") as file:
        file.write(b"\0\0\0")  # the file begins with the first block

    with capture_logs() as logs:
        async with storage_in(folder, "b") as store:
            for _ in range(2):
                with pytest.raises(UnavailableError) as caught:
                    await fetched(store, ONE.cids)
                assert caught.value.missing == (ONE.cids[0],)
    assert [entry["event"] for entry in logs] == ["storage.damaged"]


async def test_a_damaged_block_comes_from_another_root_that_names_it(folder: Path) -> None:
    await put(folder, ONE)
    await put(folder, ONE, peer="b")
    with file_of(folder, ONE).open("r+b") as file:
        file.write(b"\0\0\0")

    async with storage_in(folder, "c") as store:
        assert same(await fetched(store, ONE.cids), ONE)


@pytest.mark.parametrize("garbage", [b"", b"x", os.urandom(5000)], ids=["empty", "one byte", "noise"])
async def test_garbage_under_the_name_of_a_root_does_no_harm(folder: Path, garbage: bytes) -> None:
    await put(folder, ONE)
    (folder / f"{TWO.root}.{peer_named('stranger')}").write_bytes(garbage)
    (folder / f"{TWO.root}.{peer_named('fool')}").mkdir()
    found: list[Block] = []

    async with storage_in(folder) as store:
        with pytest.raises(UnavailableError) as caught:
            await store.get([TWO.root, *ONE.cids], found.append)
        assert caught.value.missing == (TWO.root,)
    assert set(found) == set(ONE.blocks)


async def test_what_only_looks_like_a_file_holds_nobody_up(folder: Path) -> None:
    await put(folder, ONE)
    os.mkfifo(folder / f"{TWO.root}.{peer_named('stranger')}")
    (folder / f"{TWO.root}.{peer_named('fool')}").symlink_to("/dev/zero")
    (folder / f"{ONE.root}.{peer_named('thief')}").symlink_to(folder / f"{ONE.root}.{peer_named('a')}")

    async with storage_in(folder) as store:
        with pytest.raises(UnavailableError) as caught:
            await fetched(store, [TWO.root, *ONE.cids])
        assert caught.value.missing == (TWO.root,)


async def test_what_a_crash_left_half_written_is_removed(folder: Path) -> None:
    folder.mkdir()
    own, others, ancient = (folder / f"new.{peer_named(peer)}.{token}" for peer, token in (("a", "1"), ("b", "2"), ("b", "3")))
    for path in (own, others, ancient):
        path.write_bytes(b"half")
    os.utime(ancient, (0, time.time() - 2 * 86_400))
    await put(folder)
    assert list(folder.iterdir()) == [others]  # may still be being written


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "", ".", "b" * 59 + "/..", "bafkrei" + "A" * 52, "bafkrei\0" + "a" * 51])
async def test_a_hostile_cid_never_becomes_a_path(folder: Path, name: str) -> None:
    outside = folder.parent / "outside"
    outside.write_bytes(b"secret")

    async with storage_in(folder) as store:
        with pytest.raises(UnavailableError) as caught:
            await fetched(store, [Cid(name)])
        assert caught.value.missing == (name,)
        await store.drop(Cid(name))
        with pytest.raises(ValueError, match="not a CID"):
            await store.put(Cid(name), ONE.blocks)
    assert outside.read_bytes() == b"secret"
    assert list(folder.iterdir()) == []


async def test_a_block_beyond_the_bound_is_refused_and_nothing_is_kept(folder: Path) -> None:
    data = bytes(BLOCK_BYTES + 1)

    async with storage_in(folder) as store:
        with pytest.raises(ValueError, match="524289 bytes"):
            await store.put(ONE.root, [*ONE.blocks, Block(raw_cid(data), data)])
    assert list(folder.iterdir()) == []


async def test_a_full_disk_is_unavailable_and_keeps_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with storage_in(folder) as store:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", no_space)
            with pytest.raises(UnavailableError, match="No space left on device"):
                await store.put(ONE.root, ONE.blocks)
        assert os.listdir(folder) == []
        assert list(await store.roots()) == []
        await store.put(ONE.root, ONE.blocks)
        assert same(await fetched(store, ONE.cids), ONE)


async def test_a_folder_that_has_gone_is_unavailable_until_it_is_back(folder: Path) -> None:
    away = folder.parent / "away"

    async with storage_in(folder) as store:
        await store.put(ONE.root, ONE.blocks)
        shutil.move(folder, away)
        for attempt in (store.put(TWO.root, TWO.blocks), store.drop(ONE.root), store.roots()):
            with pytest.raises(UnavailableError, match="No such file"):
                await attempt
        with pytest.raises(UnavailableError) as caught:
            await fetched(store, ONE.cids)
        assert set(caught.value.missing) == set(ONE.cids)
        assert os.listdir(folder.parent) == ["away"]
        shutil.move(away, folder)
        assert same(await fetched(store, ONE.cids), ONE)
        await store.put(TWO.root, TWO.blocks)


async def test_a_folder_that_cannot_be_made_is_unavailable(folder: Path) -> None:
    folder.write_text("a file is in the way")
    with pytest.raises(UnavailableError, match="File exists"):
        await storage_in(folder).__aenter__()


async def test_a_root_dropped_while_it_is_read_is_read_to_its_end(folder: Path) -> None:
    update = published("large", *payloads(40, length=BLOCK_BYTES))  # several batches
    found: dict[Cid, bytes] = {}

    async with storage_in(folder) as store, storage_in(folder, "b") as reader:
        await store.put(update.root, update.blocks)

        def deliver(block: Block) -> None:
            file_of(folder, update).unlink(missing_ok=True)
            found[block.cid] = block.data

        await reader.get(update.cids, deliver)
    assert same(found, update)


async def test_a_block_that_moved_to_another_root_between_two_looks_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with storage_in(folder, "a") as a, storage_in(folder, "b") as b, storage_in(folder, "c") as reader:
        await a.put(ONE.root, ONE.blocks)
        names = list(reader._names())
        await b.put(ONE.root, ONE.blocks)
        await a.drop(ONE.root)
        looks = iter([names])  # the first look happened before both
        monkeypatch.setattr(reader, "_names", lambda: (name for name in next(looks, [file_of(folder, ONE, "b").name])))
        assert same(await fetched(reader, ONE.cids), ONE)


def test_a_cancelled_put_leaves_no_file(folder: Path) -> None:
    update = published("large", *payloads(40, length=BLOCK_BYTES))

    async def cancel_half_way() -> None:
        async with storage_in(folder) as store:
            with trio.CancelScope() as scope:

                def blocks() -> Any:
                    for count, block in enumerate(update.blocks):
                        if count == 20:
                            trio.from_thread.run_sync(scope.cancel)
                        yield block

                await store.put(update.root, blocks())
            assert scope.cancelled_caught

    trio.run(cancel_half_way)
    assert list(folder.iterdir()) == []
