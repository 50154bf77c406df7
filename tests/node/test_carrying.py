"""What of others is put into which storages, and how long it stays there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
import trio

from learnae.content.cids import raw_cid
from learnae.node.fetching import Transfer
from learnae.node.inbox import Inbox, InboxEntry
from learnae.node.obtaining import TransferPace
from learnae.node.peers import Peers
from learnae.node.publishing import Publisher
from learnae.node.relay import LONGEST, NEWEST, BlockRelay
from learnae.node.retention import RetentionPolicy
from learnae.records import Announcement
from learnae.testing.context import make_runtime, peer_named
from learnae.testing.swarm import run_in_virtual_time
from tests.support.records import an_update


def update(peer: str, number: int) -> InboxEntry:
    body = an_update(raw_cid(f"{peer} {number}".encode()))
    return InboxEntry(Announcement(swarm=b"s" * 16, peer=peer_named(peer), number=number, body=body), b"", b"", 0.0, 1, False)


@attrs.define
class Stock:
    """A BlockRelay, with the shelves that it puts into."""

    carrying: BlockRelay
    shelves: list[Any]
    done: list[int] = attrs.field(factory=list)

    async def carry(self, one: InboxEntry, size: int = 10, origin: str = "storage s0") -> None:
        data = f"{one.peer} {one.announcement.number}".encode().ljust(size, b".")
        self.carrying.inbox.put(one)
        self.carrying.add(one, Transfer(10**6, bytes=size, blocks={raw_cid(data): data}, origin=origin))
        await trio.sleep(1)

    def held(self, shelf: int) -> int:
        return len(self.shelves[shelf].held)


@pytest.fixture
def with_stock(bench, shelf):
    def run(main: Any, *, writes: Sequence[bool] = (True, True), quota: int = 10**6, own: int = 0, trusted: Sequence[str] = ()) -> Any:
        async def inside() -> Any:
            async with trio.open_nursery() as nursery:
                shelves = [shelf() for _ in writes]
                made = await bench(nursery, *shelves, writes=writes)
                peers = Peers(100)
                for name in trusted:
                    peers.merged(peer_named(name))
                publisher = Publisher(
                    identity=None,
                    swarm=None,
                    specs=(),
                    architecture=b"",
                    strategies=attrs.make_class("Strategies", {"storages": attrs.field()})(made.named),
                    history=None,
                    receiver=None,
                    services=made.services,
                    runtime=attrs.evolve(make_runtime(), outages=made.services.outages),
                )
                retention, pace = RetentionPolicy(quota, own), TransferPace(0.1)
                stock = Stock(BlockRelay(publisher, retention, Inbox(100, peers.trusts), peers, pace, 2, trio.current_time), shelves)
                nursery.start_soon(stock.carrying.run, lambda one: stock.done.append(one.announcement.number))
                result = await main(stock)
                nursery.cancel_scope.cancel()
                return result

        return run_in_virtual_time(inside)

    return run


def test_it_goes_where_it_has_not_come_from_and_where_writing_is_allowed(with_stock):
    async def main(stock: Stock) -> list[int]:
        await stock.carry(update("a", 1), origin="storage s1")
        assert stock.done == [1]
        return [stock.held(index) for index in range(3)]

    assert with_stock(main, writes=(True, True, False)) == [1, 0, 0]


def test_the_newest_of_each_peer_are_kept(with_stock):
    async def main(stock: Stock) -> tuple[int, int]:
        for number in range(1, 10):
            for peer in "ab":
                await stock.carry(update(peer, number))
        return stock.held(1), len(stock.carrying.carried)

    held, known = with_stock(main)
    assert held == known
    assert 2 * NEWEST <= held <= 2 * (NEWEST + 1)


def test_what_someone_may_still_be_fetching_is_kept(with_stock):
    async def main(stock: Stock) -> int:
        stock.carrying.pace.slowest_seconds = 3.0  # 6 s are granted, and one is carried each second
        for number in range(1, 12):
            await stock.carry(update("a", number))
        return stock.held(1)

    assert with_stock(main) in (6, 7)


def test_of_a_peer_that_publishes_fast_a_few_are_kept_however_long_fetches_may_take(with_stock):
    async def main(stock: Stock) -> list[int]:
        stock.carrying.pace.slowest_seconds = 20.0  # 40 s are granted, and one is carried each second
        for number in range(1, 31):
            await stock.carry(update("a", number))
        return [item.number for item in stock.carrying.carried.values()]

    kept = with_stock(main)
    assert len(kept) <= NEWEST + LONGEST + 1
    assert {1, 30} <= set(kept)  # a slow reader finds what it has begun with, a quick one the newest


def test_one_that_publishes_fast_takes_the_newest_of_no_other(with_stock):
    async def main(stock: Stock) -> set[str]:
        stock.carrying.pace.slowest_seconds = 20.0
        await stock.carry(update("slow", 1), size=100)
        for number in range(1, 31):
            await stock.carry(update("fast", number), size=100)
        return {item.peer for item in stock.carrying.carried.values()}

    assert with_stock(main, quota=400, trusted=["slow", "fast"]) == {peer_named("slow"), peer_named("fast")}


def test_own_updates_come_first_in_the_quota_and_strangers_go_first_from_it(with_stock):
    async def main(stock: Stock) -> set[str]:
        await stock.carry(update("friend", 1), size=300)
        await stock.carry(update("stranger", 1), size=300)
        await stock.carry(update("other", 1), size=300)
        return {item.peer for item in stock.carrying.carried.values()}

    assert with_stock(main, quota=1000, own=400, trusted=["friend"]) == {peer_named("friend"), peer_named("other")}
    assert with_stock(main, quota=1000, own=701, trusted=["friend"]) == set()


def test_for_what_cannot_fit_nothing_is_dropped(with_stock):
    async def main(stock: Stock) -> tuple[list[int], int]:
        await stock.carry(update("a", 1), size=300)
        await stock.carry(update("b", 2), size=601)
        return stock.done, stock.held(1)

    assert with_stock(main, quota=600) == ([1], 1)


def test_what_the_own_updates_leave_no_room_for_is_dropped_all_the_same(with_stock):
    async def main(stock: Stock) -> int:
        await stock.carry(update("a", 1), size=300)
        stock.carrying.retention.kept_bytes = 400
        await stock.carry(update("b", 2), size=300)
        return stock.held(1)

    assert with_stock(main, quota=600) == 0


def test_nothing_of_a_peer_that_was_merged_is_dropped_for_a_stranger(with_stock):
    async def main(stock: Stock) -> list[int]:
        await stock.carry(update("stranger", 1), size=200)
        await stock.carry(update("friend", 2), size=300)
        await stock.carry(update("other", 3), size=400)
        await stock.carry(update("other", 4), size=300)
        return [item.number for item in stock.carrying.carried.values()]

    assert with_stock(main, quota=600, trusted=["friend"]) == [2, 4]


def test_what_is_kept_of_a_peer_that_is_forgotten_is_dropped(with_stock):
    async def main(stock: Stock) -> int:
        await stock.carry(update("a", 1))
        stock.carrying.inbox.forget(peer_named("a"))
        await stock.carry(update("b", 1))
        return stock.held(1)

    assert with_stock(main) == 1


def test_of_many_that_wait_the_first_fetched_are_left_out(with_stock):
    async def main(stock: Stock) -> list[int]:
        for number, peer in enumerate("abcde", 1):
            one = update(peer, number)
            stock.carrying.inbox.put(one)
            stock.carrying.add(one, Transfer(10**6, bytes=1, blocks={raw_cid(b"x"): b"x"}, origin="storage s0"))
        await trio.sleep(1)
        return stock.done

    assert with_stock(main) == [4, 5]


def test_a_peer_that_has_left_meanwhile_is_not_announced(with_stock):
    async def main(stock: Stock) -> list[int]:
        one = update("a", 1)
        stock.carrying.inbox.put(one)
        stock.carrying.add(one, Transfer(10**6, bytes=1, blocks={raw_cid(b"x"): b"x"}, origin="storage s0"))
        stock.carrying.inbox.leave_behind(one.peer)
        await trio.sleep(1)
        return stock.done

    assert with_stock(main) == []
