"""Folders that any program on the machine may write to: what strangers put there stops nobody and fills no memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from learnae.errors import UnavailableError
from learnae.node.runtime import inline
from learnae.plugins.directory import bulletin, packs, search
from learnae.plugins.directory.announcer import DirectoryAnnouncer, DirectoryAnnouncerOptions
from learnae.plugins.directory.bulletin import Reader, post
from learnae.plugins.directory.packs import BrokenPackError, Pack, PackWriter
from learnae.plugins.directory.storage import DirectoryStorage, DirectoryStorageOptions
from learnae.records import Heard
from learnae.testing.context import make_context
from learnae.testing.published import fetched, payloads, published

pytestmark = pytest.mark.virtual_time


# -- announcements ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def channel(tmp_path) -> Path:
    return tmp_path / "channel"


def test_an_old_file_that_cannot_be_removed_hides_no_messages(channel, monkeypatch):
    """In a folder with the sticky bit it is enough that somebody else has put it there."""
    post(channel, b"old", b"left behind")
    [old] = channel.iterdir()
    post(channel, b"new", b"hello")
    os.utime(old, (0, 0))

    def refuse(path: str, **where: int) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        assert Reader([channel], 100).look() == [b"hello"]


def test_a_file_that_cannot_be_read_hides_no_others(channel, monkeypatch):
    for key in (b"a", b"b", b"c"):
        post(channel, key, key)
    read, calls = os.read, []

    def fail_once(descriptor: int, size: int) -> bytes:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", fail_once)
    assert len(Reader([channel], 100).look()) == 2


def test_files_that_come_and_go_leave_a_bounded_memory(channel, monkeypatch):
    monkeypatch.setattr(bulletin, "_MAX_FILES", 10)
    reader = Reader([channel], 100)
    for number in range(100):
        post(channel, str(number).encode(), b"x")
        [path] = channel.iterdir()
        assert reader.read([str(path)]) == [b"x"]
        path.unlink()
    assert len(reader._seen) == 10


async def test_events_without_end_do_not_put_off_the_look_for_what_came_without_an_event(tmp_path, monkeypatch):
    """Such as a message that another machine has written to a network share."""

    class Busy:
        async def arrivals(self) -> list[Path]:
            await trio.sleep(0.5)
            return []

    monkeypatch.setattr(DirectoryAnnouncer, "_events", lambda self, folders, stack: Busy())
    options = DirectoryAnnouncerOptions(path=tmp_path, poll_seconds=2.0)

    heard, began = [], trio.current_time()
    async with DirectoryAnnouncer(options, make_context(tmp_path, in_thread=inline)) as announcer, trio.open_nursery() as nursery:
        nursery.start_soon(announcer.listen, ["channel"], lambda message: heard.append((trio.current_time() - began, message)))
        await trio.sleep(3)
        await announcer.announce(b"hello", channel="channel", replaces=b"key")
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    [(seconds, message)] = heard
    assert message == Heard(b"hello") and seconds <= 5.0


# -- blocks ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def storage(tmp_path) -> Any:
    def make(peer: str = "a", **changes: Any) -> DirectoryStorage:
        return DirectoryStorage(DirectoryStorageOptions(path=tmp_path / "blocks"), make_context(tmp_path, peer=peer, **changes))

    return make


def test_an_index_beyond_the_bound_is_neither_written_nor_read(tmp_path, monkeypatch):
    path, update = tmp_path / "pack", published("many", *payloads(50))

    def write() -> None:
        writer = PackWriter(path, tmp_path / "new")
        try:
            writer.add_all(update.blocks)
            writer.commit()
        finally:
            writer.discard()

    write()
    with Pack(path) as pack:
        assert len(pack.index()) == len(update.blocks)
    monkeypatch.setattr(packs, "_MAX_INDEX_BYTES", 50 * 60)
    with Pack(path) as pack, pytest.raises(BrokenPackError, match="no trailer"):
        pack.index()
    with pytest.raises(ValueError, match="blocks in one root"):
        write()


def test_indexes_that_are_remembered_are_bounded_by_what_they_hold(storage, monkeypatch):
    monkeypatch.setattr(search, "ENTRIES", 40)

    async def main() -> int:
        async with storage() as store:
            for number in range(6):
                update = published(str(number), *payloads(12, seed=number))
                await store.put(update.root, update.blocks)
                await fetched(store, update.cids)
            return store._indexes._entries()

    assert 15 <= trio.run(main) <= 40


def test_a_search_through_any_number_of_packs_can_be_cancelled_on_the_way_and_finds_the_last(storage, monkeypatch):
    monkeypatch.setattr(search, "PACKS_AT_ONCE", 4)
    calls = 0

    async def counting(function: Any, /, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        return await trio.to_thread.run_sync(function, *args)

    async def main() -> int:
        async with storage(in_thread=counting) as store:
            for number in range(20):
                update = published(str(number), *payloads(1, seed=number))
                await store.put(update.root, update.blocks)
            before = calls
            with pytest.raises(UnavailableError):
                await fetched(store, published("nowhere", b"nothing").cids)
            for number in range(20):
                data = published(str(number), *payloads(1, seed=number)).blocks[1]
                assert await fetched(store, [data.cid]) == {data.cid: data.data}
            return calls - before

    assert trio.run(main) >= 5 + 20


def test_a_folder_in_the_place_of_an_own_file_keeps_nobody_from_starting(storage, tmp_path):
    update = published("mine", b"data")
    blocks, peer = tmp_path / "blocks", storage().context.peer
    (blocks / f"{update.root}.{peer}" / "inside").mkdir(parents=True)
    (blocks / f"new.{peer}.123" / "inside").mkdir(parents=True)

    async def main() -> bytes:
        async with storage("b") as other:
            await other.put(update.root, update.blocks)
        async with storage() as store:
            return (await fetched(store, update.cids))[update.root]

    assert trio.run(main)
