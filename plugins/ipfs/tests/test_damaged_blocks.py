"""Blocks whose bytes were changed on a daemon's disk."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from learnae import Block, UnavailableError
from learnae.testing.published import MadeUpUpdate, fetched, payloads, published, same
from learnae_ipfs.managed.collecting import Collector
from learnae_ipfs.storage import IpfsStorage
from tests.support.limits import run

Storages = Callable[..., IpfsStorage]

UPDATE = published("u", *payloads(5))
ALIKE = published("with the same blocks", *payloads(5))
HARMED, LIST = UPDATE.blocks[3], UPDATE.blocks[-2]
LIMIT = 60.0

SEARCHES = """
import sys, trio
from pathlib import Path
from learnae.testing.context import make_context
from learnae.testing.published import fetched, payloads, published
from learnae_ipfs.options import IpfsStorageOptions
from learnae_ipfs.storage import IpfsStorage

async def main():
    options = IpfsStorageOptions(address=sys.argv[1], search_seconds=60.0)
    async with IpfsStorage(options, make_context(Path(sys.argv[2]))) as store:
        await fetched(store, published("u", *payloads(5)).cids)

trio.run(main)
"""


@pytest.fixture
def at(at: Storages) -> Storages:
    return partial(at, search_seconds=5.0)


def damage(kubo: Any, block: Block) -> Path:
    """Change a byte of it on the daemon's disk; the file that it is in."""
    file: Path = next(file for file in (kubo.repo / "blocks").rglob("*.data") if file.read_bytes() == block.data)
    file.write_bytes(bytes([block.data[0] ^ 1]) + block.data[1:])
    return file


@pytest.mark.parametrize("harmed", [HARMED, LIST], ids=["block", "list of blocks"])
async def test_a_damaged_block_is_fetched_from_another_daemon_and_whole_again(harmed: Block, new_kubo: Any, at: Storages) -> None:
    one, two = new_kubo(), new_kubo()

    async with at(one) as store, at(two, "b") as reader:
        await store.put(UPDATE.root, UPDATE.blocks)
        await fetched(reader, UPDATE.cids, store.hints())
        file = damage(two, harmed)
        assert same(await fetched(reader, UPDATE.cids, store.hints()), UPDATE)
        assert file.read_bytes() == harmed.data


async def test_what_a_provider_has_damaged_is_fetched_from_a_third(new_kubo: Any, at: Storages) -> None:
    one, two, three = new_kubo(), new_kubo(), new_kubo()

    async with at(one) as store, at(three, "c") as third:
        await store.put(UPDATE.root, UPDATE.blocks)
        await fetched(third, UPDATE.cids, store.hints())
        damage(one, HARMED)
        async with at(two, "b") as reader:
            assert same(await fetched(reader, UPDATE.cids, [*store.hints(), *third.hints()]), UPDATE)


async def test_a_damaged_block_under_own_pins_is_replaced_and_they_stay(new_kubo: Any, at: Storages) -> None:
    one, two = new_kubo(), new_kubo()

    async with at(one) as store, at(two, "b") as reader:
        await store.put(UPDATE.root, UPDATE.blocks)
        for update in (UPDATE, ALIKE):
            await reader.put(update.root, update.blocks)
        file = damage(two, HARMED)
        assert same(await fetched(reader, UPDATE.cids, store.hints()), UPDATE)
        assert file.read_bytes() == HARMED.data
        assert {*await reader.roots()} == {UPDATE.root, ALIKE.root}
    assert_collecting_garbage_leaves(two, UPDATE, ALIKE)


async def test_of_two_that_find_the_same_damage_at_once_both_get_all(new_kubo: Any, at: Storages) -> None:
    one, two, came = new_kubo(), new_kubo(), list[dict[Any, bytes]]()

    async with at(one) as store, at(two, "b") as reader:
        for either in (store, reader):
            await either.put(UPDATE.root, UPDATE.blocks)
        damage(two, HARMED)

        async def get() -> None:
            came.append(await fetched(reader, UPDATE.cids, store.hints()))

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(get)
        assert [same(found, UPDATE) for found in came] == [True, True]
        assert list(await reader.roots()) == [UPDATE.root]


async def test_a_damaged_block_that_is_nowhere_else_is_missing_until_it_is_put_again(new_kubo: Any, at: Storages) -> None:
    kubo = new_kubo()

    async with at(kubo) as store:
        await store.put(UPDATE.root, UPDATE.blocks)
        damage(kubo, HARMED)
        with pytest.raises(UnavailableError) as caught:
            await fetched(store, UPDATE.cids)
        assert caught.value.missing == (HARMED.cid,)
        assert list(await store.roots()) == [UPDATE.root]
        await store.put(ALIKE.root, ALIKE.blocks)
        assert same(await fetched(store, UPDATE.cids), UPDATE)
    assert_collecting_garbage_leaves(kubo, UPDATE, ALIKE)


async def test_the_pins_that_a_cut_off_get_has_taken_away_come_back_with_the_block(new_kubo: Any, at: Storages) -> None:
    one, two = new_kubo(), new_kubo()

    async with at(one) as store, at(two, "b") as reader:
        for either in (store, reader):
            await either.put(UPDATE.root, UPDATE.blocks)
        async with searching_for_the_damaged(two, at(two, "b", search_seconds=LIMIT)):
            pass
        assert list(await reader.roots()) == [UPDATE.root]  # though another process was cut off
        assert same(await fetched(reader, UPDATE.cids, store.hints()), UPDATE)
    assert_collecting_garbage_leaves(two, UPDATE)


def test_pins_that_were_away_when_their_peer_was_killed_come_back_after_its_next_start(new_kubo: Any, at: Storages, tmp_path: Path) -> None:
    kubo = new_kubo()

    async def put() -> None:
        async with at(kubo) as store:
            await store.put(UPDATE.root, UPDATE.blocks)

    async def start() -> None:
        async with at(kubo) as store:
            assert list(await store.roots()) == [UPDATE.root]

    run(put)
    file = damage(kubo, HARMED)
    with subprocess.Popen([sys.executable, "-c", SEARCHES, kubo.address, str(tmp_path / "a")]) as peer:
        try:
            while file.exists() and peer.poll() is None:
                time.sleep(0.01)
        finally:
            peer.kill()
    assert peer.returncode == -signal.SIGKILL
    kubo.ipfs("block", "put", "--mhtype=sha2-256", "--cid-codec=raw", data=HARMED.data)
    run(start)
    assert_collecting_garbage_leaves(kubo, UPDATE)


async def test_no_garbage_is_collected_while_pins_are_away(new_kubo: Any, at: Storages) -> None:
    kubo = new_kubo()

    async with at(kubo) as store:
        await store.put(UPDATE.root, UPDATE.blocks)
    async with searching_for_the_damaged(kubo, at(kubo, search_seconds=LIMIT)) as searching, trio.open_nursery() as nursery:
        collector = Collector(searching._daemon, kubo.repo, 1, searching._pins.aside.mending)
        nursery.start_soon(collector.collect)
        await trio.testing.wait_all_tasks_blocked(0.1)
        kubo.ipfs("block", "put", "--mhtype=sha2-256", "--cid-codec=raw", data=HARMED.data)
    assert_collecting_garbage_leaves(kubo, UPDATE)


async def test_what_is_dropped_while_its_damaged_block_is_searched_for_is_dropped_at_once_and_for_good(new_kubo: Any, at: Storages) -> None:
    kubo = new_kubo()

    async with at(kubo) as store:
        await store.put(UPDATE.root, UPDATE.blocks)
    async with searching_for_the_damaged(kubo, at(kubo, search_seconds=LIMIT)) as store:
        await store.drop(UPDATE.root)
        assert list(await store.roots()) == []
    async with at(kubo) as store:
        await store.put(ALIKE.root, ALIKE.blocks)
        assert list(await store.roots()) == [ALIKE.root]
    assert "learnae/" not in kubo.ipfs("pin", "ls", "--names", "--type=direct")


@asynccontextmanager
async def searching_for_the_damaged(kubo: Any, store: IpfsStorage) -> AsyncIterator[IpfsStorage]:
    """One whose get has removed the damaged block, and finds it nowhere; at the end it is cut off."""
    file = damage(kubo, HARMED)
    async with store, trio.open_nursery() as nursery:
        nursery.start_soon(fetched, store, UPDATE.cids)
        while file.exists():  # noqa: ASYNC110  # a daemon's file: nothing tells of its end
            await trio.sleep(0.01)
        yield store
        nursery.cancel_scope.cancel()


async def test_a_damaged_block_that_others_have_pinned_is_missing_and_stays_as_it_is(new_kubo: Any, at: Storages) -> None:
    one, two = new_kubo(), new_kubo()

    async with (
        at(one) as store,
        at(two, "b") as reader,
        at(two, "c") as other,
    ):
        for each in (store, reader, other):
            await each.put(UPDATE.root, UPDATE.blocks)
        file = damage(two, HARMED)
        harmed = file.read_bytes()
        with pytest.raises(UnavailableError, match="not to be removed: 1") as caught:
            await fetched(reader, UPDATE.cids, store.hints())
        assert caught.value.missing == (HARMED.cid,)
        assert file.read_bytes() == harmed
        assert list(await reader.roots()) == list(await other.roots()) == [UPDATE.root]


async def test_a_damaged_list_of_blocks_under_a_pin_is_missing_and_stays_as_it_is(new_kubo: Any, at: Storages) -> None:
    one, two = new_kubo(), new_kubo()

    async with at(one) as store, at(two, "b") as reader:
        for either in (store, reader):
            await either.put(UPDATE.root, UPDATE.blocks)
        file = damage(two, LIST)
        harmed = file.read_bytes()
        with pytest.raises(UnavailableError, match="not to be removed: 1") as caught:
            await fetched(reader, UPDATE.cids, store.hints())
        assert caught.value.missing == (LIST.cid,)
        assert file.read_bytes() == harmed
        assert list(await reader.roots()) == [UPDATE.root]


def assert_collecting_garbage_leaves(kubo: Any, *updates: MadeUpUpdate) -> None:
    kubo.ipfs("repo", "gc", "-q")
    left = {file.read_bytes() for file in (kubo.repo / "blocks").rglob("*.data")}
    assert left >= {block.data for update in updates for block in update.blocks}
