"""Daemons that are killed, started anew, silent, or not alone."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from learnae import Block, UnavailableError
from learnae.lowlevel import BLOCK_BYTES, raw_cid
from learnae.testing.published import fetched, payloads, published, same
from learnae_ipfs.storage import IpfsStorage

Storages = Callable[..., IpfsStorage]

UPDATE = published("u", *payloads(5))
LARGE = published("large", *payloads(60, length=BLOCK_BYTES))
LIMIT = 60.0  # nothing here may take so long: what hangs fails
SWARM_KEY = "1f" * 32


def killing(kubo: Any, blocks: tuple[Block, ...]) -> Iterator[Block]:
    for number, block in enumerate(blocks):
        if number == len(blocks) // 2:
            kubo.kill()
        yield block


async def test_a_daemon_killed_during_put_is_unavailable_and_works_again_on_its_repo(new_kubo: Any, at: Storages) -> None:
    kubo = new_kubo()

    async with at(kubo) as store:
        await store.put(UPDATE.root, UPDATE.blocks)
        with pytest.raises(UnavailableError):
            await store.put(LARGE.root, killing(kubo, LARGE.blocks))
    await trio.to_thread.run_sync(kubo.start)
    async with at(kubo) as store:
        assert list(await store.roots()) == [UPDATE.root]
        assert same(await fetched(store, UPDATE.cids), UPDATE)


async def test_a_daemon_killed_during_get_is_unavailable_and_the_rest_is_missing(new_kubo: Any, at: Storages) -> None:
    kubo, found = new_kubo(), list[Block]()

    def deliver(block: Block) -> None:
        found.append(block)
        if len(found) == 5:
            kubo.kill()

    async with at(kubo) as store:
        await store.put(LARGE.root, LARGE.blocks)
        with pytest.raises(UnavailableError) as caught:
            await store.get(LARGE.cids, deliver)
    assert {*caught.value.missing} == {*LARGE.cids} - {block.cid for block in found} != set()


async def test_pins_of_other_people_stay_as_they_are(shared_kubo: Any, at: Storages) -> None:
    theirs = shared_kubo.ipfs("add", "-q", "--pin-name=theirs", data=b"somebody else's")

    async with at(shared_kubo) as store:
        await store.put(UPDATE.root, UPDATE.blocks)
        await trio.to_thread.run_sync(shared_kubo.ipfs, "pin", "add", "--name=mine", UPDATE.root)  # takes the pin over
        await store.drop(UPDATE.root)
        assert list(await store.roots()) == []
        await store.put(UPDATE.root, UPDATE.blocks)
        await store.drop(UPDATE.root)
    pins = shared_kubo.ipfs("pin", "ls", "--type=recursive", "--names")
    assert f"{theirs} recursive theirs" in pins
    assert f"{UPDATE.root} recursive mine" in pins
    assert at(shared_kubo).context.peer not in pins
    shared_kubo.ipfs("pin", "rm", UPDATE.root)


async def test_blocks_of_another_daemon_of_a_private_network_are_found_by_hints_only(new_kubo: Any, at: Storages) -> None:
    one, two = new_kubo(SWARM_KEY), new_kubo(SWARM_KEY)

    async with at(one) as store, at(two, "b") as reader:
        await store.put(UPDATE.root, UPDATE.blocks)
        with pytest.raises(UnavailableError) as caught:
            await fetched(reader, UPDATE.cids)
        assert {*caught.value.missing} == {*UPDATE.cids}
        hints = ("rubbish", "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWRubbish", *store.hints())
        assert same(await fetched(reader, UPDATE.cids, hints), UPDATE)


async def test_a_provider_that_vanishes_half_way_leaves_the_rest_missing(new_kubo: Any, at: Storages) -> None:
    one, two, found = new_kubo(), new_kubo(), list[Block]()

    def deliver(block: Block) -> None:
        found.append(block)
        if len(found) == 5:
            one.kill()

    async with at(one) as store, at(two, "b") as reader:
        await store.put(LARGE.root, LARGE.blocks)
        with pytest.raises(UnavailableError) as caught:
            await reader.get(LARGE.cids, deliver, hints=store.hints())
        assert {*caught.value.missing} == {*LARGE.cids} - {block.cid for block in found} != set()
        await reader.put(UPDATE.root, UPDATE.blocks)
        assert same(await fetched(reader, UPDATE.cids), UPDATE)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of what accepts, and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"/ip4/127.0.0.1/tcp/{server.getsockname()[1]}"


async def test_a_daemon_that_never_answers_is_unavailable(silent: str, at: Storages) -> None:
    store = at(silent, silence_seconds=0.2)
    calls = (store.__aenter__(), store.put(UPDATE.root, UPDATE.blocks), store.drop(UPDATE.root), store.roots())
    for call in calls:
        with pytest.raises(UnavailableError):
            await call
    with pytest.raises(UnavailableError) as caught:
        await fetched(store, UPDATE.cids)
    assert {*caught.value.missing} == {*UPDATE.cids}


@pytest.mark.parametrize("doing", ["get", "put", "roots"])
async def test_a_call_that_waits_for_a_silent_daemon_can_be_cancelled(doing: str, silent: str, at: Storages) -> None:
    store = at(silent, silence_seconds=10 * LIMIT)  # or the limit of the test is over first
    calls = {"get": (store.get, UPDATE.cids, print), "put": (store.put, UPDATE.root, UPDATE.blocks), "roots": (store.roots,)}
    with trio.move_on_after(0.2) as scope:
        function, *arguments = calls[doing]
        await function(*arguments)
    assert scope.cancelled_caught


async def test_nothing_that_is_no_cid_is_asked_for(shared_kubo: Any, at: Storages) -> None:
    hostile: Any = ["", "../../config", "/ipfs/" + UPDATE.root, raw_cid(b"not there")]

    async with at(shared_kubo) as store:
        with pytest.raises(UnavailableError) as caught:
            await fetched(store, hostile)
        assert {*caught.value.missing} == {*hostile}


async def test_a_block_is_not_damaged_because_it_was_asked_for_by_another_name(new_kubo: Any, at: Storages) -> None:
    kubo = new_kubo()

    async with at(kubo) as store:
        await store.put(UPDATE.root, UPDATE.blocks)
        await store.drop(UPDATE.root)  # or the pin would protect it
        formats = (("-b", "base58btc"), ("--mc", "dag-pb"), ("--mc", "git-raw"))
        names: list[Any] = [kubo.ipfs("cid", "format", "-v", "1", *how, UPDATE.cids[3]) for how in formats]
        with pytest.raises(UnavailableError) as caught:
            await fetched(store, [*names, "/ipfs/" + UPDATE.cids[3]])
        assert len(caught.value.missing) == len(names) + 1
        assert same(await fetched(store, UPDATE.cids), UPDATE)
