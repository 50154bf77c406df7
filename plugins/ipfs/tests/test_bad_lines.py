"""Lines between storage and daemon, and between daemons, that lose, stop and crawl: a relay stands in them."""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from learnae import Block, UnavailableError
from learnae.http import client
from learnae.lowlevel import BLOCK_BYTES, raw_cid
from learnae.testing.published import fetched, payloads, published, same
from learnae_ipfs.search import FINDS
from learnae_ipfs.storage import IpfsStorage

Storages = Callable[..., IpfsStorage]

UPDATE = published("u", *payloads(5))
LARGE = published("large", *payloads(40, length=BLOCK_BYTES))  # more than the sockets on the way hold
MANY = published("many", *payloads(60, length=20_000))
LIMIT = 60.0
CHUNK = 2_000
TCP = re.compile(r"/ip4/127\.0\.0\.1/tcp/(\d+)(?:/p2p/\w+)?")


@attrs.define
class Relay:
    """Passes on what comes, from whoever connects to the port that it serves: no faster than so many bytes a second to them, and so many
    in all. Of a request with `loses` in it they never get the answer: the line is cut when it comes. One with `waits_for` in it is passed
    on when that has been done."""

    target: int
    bytes_per_second: float = math.inf
    most: float = math.inf
    loses: bytes | None = None
    waits_for: tuple[bytes, Callable[[], object]] | None = None
    passed: int = 0
    full: trio.Event = attrs.field(factory=trio.Event)

    async def serve(self, *, task_status: trio.TaskStatus[int]) -> None:
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            task_status.started(listener.socket.getsockname()[1])
            await trio.serve_listeners(self._connected, [listener], handler_nursery=nursery)

    async def _connected(self, near: trio.SocketStream) -> None:
        async with near, await trio.open_tcp_stream("127.0.0.1", self.target) as far, trio.open_nursery() as nursery:
            lost = trio.Event()

            async def there() -> None:
                async for data in near:
                    if self.loses is not None and self.loses in data:
                        lost.set()
                    if self.waits_for is not None and self.waits_for[0] in data:
                        await trio.to_thread.run_sync(self.waits_for[1])
                    await far.send_all(data)

            async def back() -> None:
                while data := await far.receive_some(CHUNK):
                    if lost.is_set():
                        return
                    await self._pass(data, near)

            for way in (there, back):
                nursery.start_soon(self._until_closed, way, nursery.cancel_scope)

    async def _pass(self, data: bytes, near: trio.SocketStream) -> None:
        if self.passed > self.most:
            self.full.set()
            await trio.sleep_forever()
        await trio.sleep(len(data) / self.bytes_per_second)
        await near.send_all(data)
        self.passed += len(data)

    async def _until_closed(self, way: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await way()
        scope.cancel()


def tcp_port(addresses: Sequence[str]) -> int:
    return int(next(found[1] for address in addresses if (found := TCP.fullmatch(address))))


def led_through(port: int, hints: Sequence[str]) -> list[str]:
    """The hint that is plain TCP, with another port."""
    return [hint.replace(f"/tcp/{tcp_port([hint])}", f"/tcp/{port}") for hint in hints if TCP.fullmatch(hint)]


@asynccontextmanager
async def beside() -> AsyncIterator[trio.Nursery]:
    """What is started in it ends with the test."""
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


async def test_a_put_whose_pin_is_made_but_never_answered_leaves_no_pin(shared_kubo: Any, at: Storages) -> None:
    async with beside() as nursery:
        relay = Relay(tcp_port([shared_kubo.address]), loses=b"/pin/add")
        port = await nursery.start(relay.serve)
        async with at(f"/ip4/127.0.0.1/tcp/{port}") as store:
            with pytest.raises(UnavailableError):
                await store.put(UPDATE.root, UPDATE.blocks)
            assert list(await store.roots()) == []
            relay.loses = None
            await store.put(UPDATE.root, UPDATE.blocks)
            assert list(await store.roots()) == [UPDATE.root]
            await store.drop(UPDATE.root)


async def test_a_put_goes_on_when_the_daemon_takes_nothing_for_longer_than_a_connection_may_take(
    new_kubo: Any, at: Storages, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubo = new_kubo()
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.5)

    async with beside() as nursery:
        relay = Relay(tcp_port([kubo.address]), waits_for=(b"/dag/import", lambda: time.sleep(1.5)))
        address = f"/ip4/127.0.0.1/tcp/{await nursery.start(relay.serve)}"
        async with at(address) as store:  # it has asked for the version over the line that is used then
            await store.put(LARGE.root, LARGE.blocks)
        async with at(kubo) as store:
            assert list(await store.roots()) == [LARGE.root]
            await store.drop(LARGE.root)
        first = at(address)  # has asked for nothing before
        await first.put(LARGE.root, LARGE.blocks)
        assert list(await first.roots()) == [LARGE.root]
        await first.__aexit__()


async def test_a_put_that_is_cancelled_while_its_pin_is_made_leaves_none(shared_kubo: Any, at: Storages) -> None:
    async with beside() as nursery:
        with trio.CancelScope() as scope:
            relay = Relay(tcp_port([shared_kubo.address]), waits_for=(b"/pin/add", lambda: trio.from_thread.run_sync(scope.cancel)))
            async with at(f"/ip4/127.0.0.1/tcp/{await nursery.start(relay.serve)}") as store:
                await store.put(UPDATE.root, UPDATE.blocks)
        assert scope.cancelled_caught
        async with at(shared_kubo) as store:
            assert list(await store.roots()) == []


async def test_a_pin_that_nobody_heard_of_is_listed_for_the_next_start(shared_kubo: Any, at: Storages) -> None:
    async with beside() as nursery:
        relay = Relay(tcp_port([shared_kubo.address]), loses=b"/pin/")  # nothing can be undone either
        port = await nursery.start(relay.serve)
        async with at(f"/ip4/127.0.0.1/tcp/{port}") as store:
            with pytest.raises(UnavailableError):
                await store.put(UPDATE.root, UPDATE.blocks)
        async with at(shared_kubo) as store:
            assert list(await store.roots()) == [UPDATE.root]
            await store.drop(UPDATE.root)
            assert list(await store.roots()) == []


async def test_a_put_whose_blocks_are_collected_before_they_are_pinned_fails_and_leaves_no_pin(new_kubo: Any, at: Storages) -> None:
    kubo = new_kubo()

    async with beside() as nursery:
        relay = Relay(tcp_port([kubo.address]), waits_for=(b"/pin/add", lambda: kubo.ipfs("block", "rm", UPDATE.blocks[1].cid)))
        port = await nursery.start(relay.serve)
        async with at(f"/ip4/127.0.0.1/tcp/{port}", silence_seconds=LIMIT) as store:
            with pytest.raises(UnavailableError, match="garbage"):
                await store.put(UPDATE.root, UPDATE.blocks)
            assert list(await store.roots()) == []
            relay.waits_for = None
            await store.put(UPDATE.root, UPDATE.blocks)
            assert same(await fetched(store, UPDATE.cids), UPDATE)


@pytest.mark.slow
async def test_all_blocks_come_from_a_provider_that_sends_slowly_though_one_is_nowhere(new_kubo: Any, at: Storages) -> None:
    """The one that is nowhere is waited for longer than a daemon may be silent."""
    one, two, nowhere = new_kubo(), new_kubo(), raw_cid(b"nowhere")

    async with (
        beside() as nursery,
        at(one) as store,
        at(two, "b", search_seconds=2.0, silence_seconds=1.0) as reader,
    ):
        await store.put(MANY.root, MANY.blocks)
        relay = Relay(tcp_port(store.hints()), bytes_per_second=300_000)
        hints = led_through(await nursery.start(relay.serve), store.hints())
        found = dict[Any, bytes]()
        with pytest.raises(UnavailableError) as caught:
            await reader.get([nowhere, *MANY.cids], lambda block: found.update({block.cid: block.data}), hints=hints)
        assert caught.value.missing == (nowhere,)
        assert same(found, MANY)
        assert relay.passed > sum(len(block.data) for block in MANY.blocks)


@pytest.mark.slow
async def test_a_provider_that_falls_silent_half_way_leaves_the_rest_missing(new_kubo: Any, at: Storages) -> None:
    one, two, found = new_kubo(), new_kubo(), list[Block]()

    async with beside() as nursery, at(one) as store, at(two, "b") as reader:
        await store.put(MANY.root, MANY.blocks)
        relay = Relay(tcp_port(store.hints()), most=600_000)
        hints = led_through(await nursery.start(relay.serve), store.hints())
        with pytest.raises(UnavailableError) as caught:
            await reader.get(MANY.cids, found.append, hints=hints)
        assert relay.full.is_set()
        assert {*caught.value.missing} == {*MANY.cids} - {block.cid for block in found} != set()
        assert found
        await reader.put(UPDATE.root, UPDATE.blocks)
        assert same(await fetched(reader, UPDATE.cids), UPDATE)


async def test_more_blocks_that_are_nowhere_than_are_asked_for_at_once_do_not_keep_from_the_others(new_kubo: Any, at: Storages) -> None:
    one, two, nowhere = new_kubo(), new_kubo(), [raw_cid(bytes([number])) for number in range(FINDS + 1)]

    async with at(one) as store, at(two, "b") as reader:
        await store.put(UPDATE.root, UPDATE.blocks)
        found = dict[Any, bytes]()
        with pytest.raises(UnavailableError) as caught:
            await reader.get([*nowhere, *UPDATE.cids], lambda block: found.update({block.cid: block.data}), hints=store.hints())
        assert {*caught.value.missing} == {*nowhere}
        assert same(found, UPDATE)


async def test_a_hint_that_leads_to_silence_does_not_keep_from_the_others(shared_kubo: Any, new_kubo: Any, at: Storages) -> None:
    one, two = new_kubo(), new_kubo()

    async with (
        beside() as nursery,
        at(one) as store,
        at(two, "b") as reader,
        at(shared_kubo, "c") as third,
    ):
        await store.put(UPDATE.root, UPDATE.blocks)
        relay = Relay(tcp_port(third.hints()), most=-1)
        silent = led_through(await nursery.start(relay.serve), third.hints())
        found = await fetched(reader, UPDATE.cids, [*silent, *store.hints()])
        assert relay.full.is_set()
        assert same(found, UPDATE)
