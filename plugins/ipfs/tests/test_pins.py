"""What is pinned, by whom, and what a put that fails leaves behind."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from learnae import Block, UnavailableError
from learnae.testing.published import MadeUpUpdate, fetched, payloads, published, same
from learnae_ipfs.storage import IpfsStorage

Storages = Callable[..., IpfsStorage]

UPDATE = published("u", *payloads(5))
LIMIT = 60.0
UPDATES = 200


async def collect_garbage(kubo: Any) -> None:
    """On a daemon of the test's own."""
    await trio.to_thread.run_sync(kubo.ipfs, "repo", "gc", "-q")


async def test_peers_that_put_the_same_root_at_the_same_moment_both_keep_it(new_kubo: Any, at: Storages) -> None:
    kubo, both_send = new_kubo(), threading.Barrier(2, timeout=LIMIT)

    def at_once() -> Iterator[Block]:
        both_send.wait()
        yield from UPDATE.blocks

    async with at(kubo) as a, at(kubo, "b") as b:
        async with trio.open_nursery() as nursery:
            for store in (a, b):
                nursery.start_soon(store.put, UPDATE.root, at_once())
        assert list(await a.roots()) == list(await b.roots()) == [UPDATE.root]
        await a.drop(UPDATE.root)
        await collect_garbage(kubo)
        assert same(await fetched(b, UPDATE.cids), UPDATE)
        await b.drop(UPDATE.root)
        await collect_garbage(kubo)
        with pytest.raises(UnavailableError):
            await fetched(b, UPDATE.cids)


@pytest.mark.parametrize("error", [OSError("the disk of the peer"), ValueError("a bug")])
async def test_what_breaks_off_in_the_core_comes_through_as_it_is(error: Exception, shared_kubo: Any, at: Storages) -> None:
    def breaking() -> Iterator[Block]:
        yield from UPDATE.blocks[:2]
        raise error

    async with at(shared_kubo) as store:
        with pytest.raises(type(error)) as caught:
            await store.put(UPDATE.root, breaking())
        assert caught.value is error
        assert list(await store.roots()) == []


async def test_a_pin_shows_swarm_peer_and_root_and_keeps_all_blocks(new_kubo: Any, at: Storages) -> None:
    kubo = new_kubo()

    async with at(kubo) as store:
        await store.put(UPDATE.root, UPDATE.blocks)
        await collect_garbage(kubo)
        assert same(await fetched(store, UPDATE.cids), UPDATE)
    (pin,) = kubo.ipfs("pin", "ls", "--type=recursive", "--names", "--name=learnae/").splitlines()
    ticket, _, name = pin.split()
    assert name.startswith("learnae/")
    assert name.endswith(f"/{at(kubo).context.peer}/{UPDATE.root}")
    assert UPDATE.root in kubo.ipfs("refs", ticket).splitlines()


@pytest.mark.slow
async def test_two_hundred_small_updates_leave_the_newest_three_and_nothing_else(new_kubo: Any, at: Storages) -> None:
    kubo = new_kubo()
    before = stored_blocks(kubo)

    kept: deque[MadeUpUpdate] = deque()
    async with at(kubo) as store:
        for number in range(UPDATES):
            kept.append(published(f"u{number}", *payloads(2, seed=number)))
            await store.put(kept[-1].root, kept[-1].blocks)
            if len(kept) > 3:
                await store.drop(kept.popleft().root)
            assert len(await store.roots()) == len(kept)
            if number % 50 == 49:
                await collect_garbage(kubo)
                ours = sum(len(update.blocks) + len(("ticket",)) for update in kept)
                assert await trio.to_thread.run_sync(stored_blocks, kubo) == before + ours
        for update in kept:
            assert same(await fetched(store, update.cids), update)
    pins = kubo.ipfs("pin", "ls", "--type=recursive", "--names", "--name=learnae/").splitlines()
    assert len(pins) == 3


def stored_blocks(kubo: Any) -> int:
    return int(json.loads(kubo.ipfs("repo", "stat", "--enc=json"))["NumObjects"])
