"""Own roots and the cache, on a disk: what the kit asks of a storage, and what else may lie in the folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from learnae import Block, Cid, UnavailableError
from learnae.lowlevel import raw_cid
from learnae.testing.context import make_context, run_in_thread
from learnae.testing.published import OpenStorage, fetched, payloads, published, same
from learnae.testing.storage_kit import StorageConformance
from learnae_libp2p.streams.block_store import BlockStore
from plugins.libp2p.tests.support.local_storage import LocalStorage


class TestBlockStoreConforms(StorageConformance):
    shared_between_peers = False

    @pytest.fixture
    def storage(self, tmp_path: Path) -> OpenStorage:
        return lambda peer: LocalStorage(None, make_context(tmp_path / peer / "storage", peer=peer))

    @contextmanager
    def out_of_order(self, service: LocalStorage) -> Iterator[None]:
        folder = service.context.home
        aside = folder.with_name("aside")
        folder.rename(aside)
        try:
            yield
        finally:
            aside.rename(folder)


def store_in(folder: Path, **keys: Any) -> BlockStore:
    return BlockStore(folder=folder, in_thread=run_in_thread, log=structlog.get_logger(), **keys)


def block(number: int, length: int = 1000) -> Block:
    data = payloads(1, seed=number, length=length)[0]
    return Block(raw_cid(data), data)


async def opened(folder: Path, **keys: Any) -> BlockStore:
    store = store_in(folder, **keys)
    await store.open()
    return store


def test_the_cache_keeps_what_was_used_last_within_its_quota(tmp_path: Path) -> None:
    async def main() -> None:
        store = await opened(tmp_path / "s", cache_bytes=10_000)
        blocks = [block(number) for number in range(12)]
        for number, each in enumerate(blocks):
            store.keep(each)
            store.read_all([blocks[0].cid])
            assert store.cache.total <= 10_000, number
        assert [store.has(each.cid) for each in blocks] == [True, False, False, *[True] * 9]
        on_disk = {path.name for path in (tmp_path / "s" / "cache").iterdir()}
        assert on_disk == {f"block.{each.cid}" for each in blocks if store.has(each.cid)}

    trio.run(main)


def test_a_block_above_the_quota_takes_no_others_place(tmp_path: Path) -> None:
    async def main() -> None:
        store = await opened(tmp_path / "s", cache_bytes=2000)
        store.keep(block(1))
        store.keep(block(2, length=3000))
        assert store.has(block(1).cid) and not store.has(block(2, length=3000).cid)

    trio.run(main)


def test_what_was_cached_is_there_after_a_restart_and_a_smaller_quota_holds_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        store = await opened(tmp_path / "s")
        for number in range(5):
            store.keep(block(number))
        again = await opened(tmp_path / "s", cache_bytes=2500)
        assert sum(again.has(block(number).cid) for number in range(5)) == 2
        assert len(list((tmp_path / "s" / "cache").iterdir())) == 2

    trio.run(main)


def test_a_cached_block_that_was_cut_or_changed_is_not_delivered_and_goes(tmp_path: Path) -> None:
    async def main() -> None:
        store = await opened(tmp_path / "s")
        for number in range(3):
            store.keep(block(number))
        (tmp_path / "s" / "cache" / f"block.{block(0).cid}").write_bytes(b"")
        (tmp_path / "s" / "cache" / f"block.{block(1).cid}").write_bytes(b"x" * 1000)
        again = await opened(tmp_path / "s")
        assert again.read_piece(block(1).cid, 0, 10) == b""
        assert again.read_all([block(number).cid for number in range(3)]) == {block(2).cid: block(2)}
        assert [again.has(block(number).cid) for number in range(3)] == [False, False, True]

    trio.run(main)


def test_a_damaged_block_of_an_own_root_is_missing_and_the_others_are_there(tmp_path: Path) -> None:
    async def main() -> None:
        store = await opened(tmp_path / "s")
        update = published("u", *payloads(5))
        await store.put(update.root, update.blocks)
        (file,) = (tmp_path / "s" / "roots").iterdir()
        data = bytearray(file.read_bytes())
        data[len(update.blocks[0].data) + 10] ^= 1  # in the first payload
        file.write_bytes(data)
        again = await opened(tmp_path / "s")
        found: dict[Cid, bytes] = {}
        missing = await again.deliver(update.cids, lambda block: found.update({block.cid: block.data}))
        assert missing == [update.cids[1]]
        assert len(found) == len(update.cids) - 1

    trio.run(main)


@pytest.mark.parametrize("length", [0, 10, 47, 48, 2000, -1], ids=str)
def test_a_root_file_that_was_cut_is_no_root_and_is_left_alone(tmp_path: Path, length: int) -> None:
    async def main() -> None:
        store = await opened(tmp_path / "s")
        update = published("u", *payloads(5))
        await store.put(update.root, update.blocks)
        (file,) = (tmp_path / "s" / "roots").iterdir()
        file.write_bytes(file.read_bytes()[:length])
        again = await opened(tmp_path / "s")
        assert await again.roots() == []
        assert await again.deliver(update.cids, lambda block: None) == update.cids
        await again.put(update.root, update.blocks)
        assert await again.roots() == [update.root]
        assert file.exists()
        await again.drop(update.root)
        assert [path.name for path in (tmp_path / "s" / "roots").iterdir()] == [file.name]

    trio.run(main)


FOREIGN = ("file", "link", "pipe", "folder", "hard link")


def lay(kind: str, place: Path, elsewhere: Path) -> None:
    if kind == "file":
        place.write_bytes(b"theirs")
    elif kind == "link":
        place.symlink_to(elsewhere)
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        os.link(elsewhere, place)


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_others_have_put_there_is_neither_followed_nor_removed(tmp_path: Path, kind: str) -> None:
    """Under names of every form that is ours, and under another one; before the first run and before the second."""
    update, cached = published("u", *payloads(3)), block(7)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(cached.data)
    names = [
        f"roots/root.{update.root}",
        f"cache/block.{cached.cid}",
        "roots/notes",
        *([] if kind == "file" else ["roots/new.0123456789abcdef", "cache/new.0123456789abcdef"]),  # a plain file of this form is a draft
    ]
    places = [tmp_path / "s" / name for name in names if (kind, name) != ("file", names[1])]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        lay(kind, place, elsewhere)
    before = [os.lstat(place) for place in places]

    async def main() -> None:
        for _ in range(2):
            store = await opened(tmp_path / "s", cache_bytes=1500)
            store.keep(cached)
            await store.put(update.root, update.blocks)
            assert same({cid: each.data for cid, each in store.read_all(update.cids).items()}, update)
            for number in range(20, 24):
                store.keep(block(number))
            await store.drop(update.root)
            assert await store.roots() == []

    trio.run(main)
    after = [os.lstat(place) for place in places]
    assert [(one.st_ino, one.st_mode, one.st_nlink) for one in before] == [(one.st_ino, one.st_mode, one.st_nlink) for one in after]
    assert elsewhere.read_bytes() == cached.data


def test_a_folder_that_is_a_link_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "roots").symlink_to(tmp_path / "elsewhere")

    async def main() -> None:
        with pytest.raises(UnavailableError):
            await opened(tmp_path / "s")

    trio.run(main)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_who_only_looks_makes_and_changes_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        looking = await opened(tmp_path / "s", existing_only=True)
        assert await looking.roots() == []
        assert await looking.deliver([block(1).cid], lambda block: None) == [block(1).cid]
        assert not (tmp_path / "s").exists()
        store = await opened(tmp_path / "s")
        update = published("u", *payloads(3))
        await store.put(update.root, update.blocks)
        store.keep(block(1))
        (tmp_path / "s" / "roots" / "new.0123456789abcdef").write_bytes(b"a put that is going on")
        before = sorted(path for path in (tmp_path / "s").rglob("*"))
        looking = await opened(tmp_path / "s", existing_only=True, cache_bytes=10)
        looking.keep(block(2))
        assert await looking.roots() == [update.root]
        assert await looking.deliver([block(1).cid, *update.cids], lambda block: None) == []
        assert sorted(path for path in (tmp_path / "s").rglob("*")) == before
        await looking.drop(update.root)
        assert await store.roots() == []

    trio.run(main)


def test_drafts_of_a_crash_are_gone_after_the_next_start(tmp_path: Path) -> None:
    async def main() -> None:
        await opened(tmp_path / "s")
        for folder in ("roots", "cache"):
            (tmp_path / "s" / folder / "new.0123456789abcdef").write_bytes(b"half")
        await opened(tmp_path / "s")
        assert {path.name for path in (tmp_path / "s").rglob("*")} == {"roots", "cache"}

    trio.run(main)


def test_pieces_of_a_block_are_those_of_the_whole(tmp_path: Path) -> None:
    async def main() -> None:
        store = await opened(tmp_path / "s")
        own, cached = block(1, length=70_000), block(2, length=70_000)
        update = published("u", own.data)
        await store.put(update.root, update.blocks)
        store.keep(cached)
        for store_again in (store, await opened(tmp_path / "s")):
            for each in (own, cached):
                pieces = [store_again.read_piece(each.cid, start, 30_000) for start in (0, 30_000, 60_000)]
                assert b"".join(pieces) == each.data
                assert store_again.length(each.cid) == len(each.data)

    trio.run(main)


def test_a_get_by_another_process_of_the_same_peer_sees_new_roots(tmp_path: Path) -> None:
    async def main() -> None:
        context = make_context(tmp_path)
        async with LocalStorage(None, context) as one, LocalStorage(None, context) as other:
            update = published("u", *payloads(3))
            await one.put(update.root, update.blocks)
            assert same(await fetched(other, update.cids), update)
            await other.drop(update.root)
            assert await one.roots() == []

    trio.run(main)
