"""What every storage must do."""

from __future__ import annotations

import random
from typing import ClassVar

import pytest
import trio

from learnae.content.cids import raw_cid
from learnae.errors import UnavailableError
from learnae.plugins.calls import ungrouped
from learnae.records import BLOCK_BYTES, Cid
from learnae.strategies import Storage
from learnae.testing.kit import in_trio, needs
from learnae.testing.published import MadeUpUpdate, OpenStorage, StorageChecks, cancelling, fetched, in_loop, payloads, published, same
from learnae.testing.storage_faults import StorageFaults

__all__ = ["OpenStorage", "StorageConformance"]


class StorageConformance(StorageFaults, StorageChecks):
    """Subclass it, and give the fixture `storage`. Define `out_of_order` if the medium can fail."""

    survives_reopen: ClassVar[bool] = True
    """Whether a later run of the peer finds the blocks, however the run that put them has ended."""

    shared_between_peers: ClassVar[bool] = True
    """Whether peers that use the same place get each other's blocks without hints."""

    largest_payload: ClassVar[int] = BLOCK_BYTES

    @pytest.fixture
    def storage(self) -> OpenStorage:
        raise NotImplementedError("give your subclass a fixture `storage`: a function from a peer's name to a new, closed storage")

    @in_trio
    async def test_what_was_put_is_delivered(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(5))
        async with storage("a") as store:
            await store.put(update.root, update.blocks)
            assert same(await fetched(store, update.cids), update)

    @in_trio
    async def test_blocks_of_all_sizes_come_back_whole(self, storage: OpenStorage) -> None:
        sizes = (1, 255, 4096, 65_537, self.largest_payload)
        update = published("sizes", *(random.Random(size).randbytes(size) for size in sizes))
        async with storage("a") as store:
            await store.put(update.root, update.blocks)
            assert same(await fetched(store, update.cids), update)

    @in_trio
    async def test_many_blocks_come_back_whole(self, storage: OpenStorage) -> None:
        update = published("many", *payloads(300, length=100), *payloads(24, seed=1, length=self.largest_payload))
        async with storage("a") as store:
            await store.put(update.root, update.blocks)
            assert same(await fetched(store, update.cids), update)

    @in_trio
    async def test_only_what_was_asked_for_is_delivered(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(5))
        async with storage("a") as store:
            await store.put(update.root, update.blocks)
            assert (await fetched(store, update.cids[2:4])).keys() == set(update.cids[2:4])

    @in_trio
    async def test_nothing_asked_is_nothing_delivered(self, storage: OpenStorage) -> None:
        async with storage("a") as store:
            assert await fetched(store, []) == {}

    @in_trio
    async def test_unknown_blocks_are_named_after_the_others_were_delivered(self, storage: OpenStorage) -> None:
        update, unknown = published("u", *payloads(5)), [raw_cid(b"never put"), raw_cid(b"nor this")]
        found: dict[Cid, bytes] = {}
        async with storage("a") as store:
            await store.put(update.root, update.blocks)
            with pytest.raises(UnavailableError) as caught, ungrouped():
                await store.get([unknown[0], *update.cids, unknown[1]], lambda block: found.update({block.cid: block.data}))
        assert sorted(caught.value.missing) == sorted(unknown)
        assert same(found, update)

    @in_trio
    async def test_a_block_may_be_asked_for_twice(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(3))
        async with storage("a") as store:
            await store.put(update.root, update.blocks)
            assert same(await fetched(store, update.cids * 2), update)

    @in_trio
    async def test_a_block_may_come_twice_in_one_put(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(3))
        async with storage("a") as store:
            await store.put(update.root, [*update.blocks, *update.blocks])
            assert same(await fetched(store, update.cids), update)

    @in_trio
    async def test_blocks_may_be_made_while_they_are_put(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(20))
        async with storage("a") as store:
            await store.put(update.root, (block for block in update.blocks))
            assert same(await fetched(store, update.cids), update)

    @in_trio
    async def test_hints_of_other_stores_do_no_harm(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(3))
        found: dict[Cid, bytes] = {}
        async with storage("a") as store:
            await store.put(update.root, update.blocks)
            hints = ("", "/ip4/999.0.0.1/tcp/0", "\N{SNOWMAN}" * 100)
            await store.get(update.cids, lambda block: found.update({block.cid: block.data}), hints=hints)
        assert same(found, update)

    @in_trio
    async def test_own_hints_are_few_short_texts(self, storage: OpenStorage) -> None:
        async with storage("a") as store:
            hints = store.hints()
        assert len(hints) <= 8
        assert {type(hint) for hint in hints} <= {str}
        assert all(0 < len(hint) <= 256 for hint in hints)

    @in_trio
    async def test_connections_and_addresses_can_always_be_asked_for(self, storage: OpenStorage) -> None:
        store, other = storage("a"), storage("b")
        self.look_at_connections(store)
        async with store, other:
            self.look_at_connections(store)
        self.look_at_connections(store)

    @in_trio
    async def test_put_returns_when_all_blocks_are_there(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(50))
        async with storage("a") as store, storage("a") as reader:
            await store.put(update.root, update.blocks)
            assert same(await fetched(reader, update.cids), update)
            assert list(await reader.roots()) == [update.root]

    @needs("survives_reopen")
    @in_trio
    async def test_what_was_put_outlives_a_crash(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(5))
        crashed = storage("a")
        async with crashed:
            await crashed.put(update.root, update.blocks)
            async with storage("a") as reopened:  # while the first was not left in good order
                assert list(await reopened.roots()) == [update.root]
                assert same(await fetched(reopened, update.cids), update)

    @needs("survives_reopen")
    @in_trio
    async def test_what_was_put_outlives_a_leave(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(5))
        async with storage("a") as store:
            await store.put(update.root, update.blocks)
        async with storage("a") as store:
            assert list(await store.roots()) == [update.root]
            assert same(await fetched(store, update.cids), update)
            await store.drop(update.root)
        async with storage("a") as store:
            assert list(await store.roots()) == []

    @needs("shared_between_peers")
    @in_trio
    async def test_peers_get_each_others_blocks(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(5))
        async with storage("a") as store, storage("b") as other:
            await store.put(update.root, update.blocks)
            assert same(await fetched(other, update.cids), update)

    @in_trio
    async def test_roots_are_those_put_and_not_dropped(self, storage: OpenStorage) -> None:
        one, two = published("one", *payloads(2)), published("two", *payloads(2))
        async with storage("a") as store:
            assert list(await store.roots()) == []
            await store.put(one.root, one.blocks)
            await store.put(two.root, two.blocks)
            assert sorted(await store.roots()) == sorted([one.root, two.root])
            await store.drop(one.root)
            assert list(await store.roots()) == [two.root]

    @in_trio
    async def test_roots_of_two_peers_are_kept_apart(self, storage: OpenStorage) -> None:
        one, two = published("one", *payloads(2)), published("two", *payloads(2))
        async with storage("a") as a, storage("b") as b:
            await a.put(one.root, one.blocks)
            await b.put(two.root, two.blocks)
            assert list(await a.roots()) == [one.root]
            assert list(await b.roots()) == [two.root]

    @in_trio
    async def test_a_block_lives_while_another_root_names_it(self, storage: OpenStorage) -> None:
        common = payloads(3)
        one, two = published("one", *common, b"one's own"), published("two", *common, b"two's own")
        async with storage("a") as store:
            await store.put(one.root, one.blocks)
            await store.put(two.root, two.blocks)
            await store.drop(one.root)
            assert same(await fetched(store, two.cids), two)

    @in_trio
    async def test_a_block_lives_while_another_peer_names_it(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(3))
        async with storage("a") as a, storage("b") as b:
            await a.put(update.root, update.blocks)
            await b.put(update.root, update.blocks)
            await a.drop(update.root)
            assert same(await fetched(b, update.cids), update)
            assert list(await a.roots()) == []
            assert list(await b.roots()) == [update.root]

    @needs("frees_on_drop")
    @in_trio
    async def test_a_block_goes_with_its_last_root(self, storage: OpenStorage) -> None:
        common = payloads(2)
        one, two = published("one", *common), published("two", *common)
        async with storage("a") as store:
            await store.put(one.root, one.blocks)
            await store.put(two.root, two.blocks)
            await store.drop(one.root)
            await store.drop(two.root)
            with pytest.raises(UnavailableError) as caught:
                await fetched(store, two.cids)
        assert sorted(caught.value.missing) == sorted(two.cids)

    @in_trio
    async def test_dropping_an_unknown_root_is_no_error(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(2))
        async with storage("a") as store:
            await store.drop(update.root)
            await store.put(update.root, update.blocks)
            await store.drop(raw_cid(b"never put"))
            assert same(await fetched(store, update.cids), update)

    @in_trio
    async def test_a_root_put_twice_is_one_root(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(2))
        async with storage("a") as store:
            await store.put(update.root, update.blocks)
            await store.put(update.root, update.blocks)
            assert list(await store.roots()) == [update.root]
            assert same(await fetched(store, update.cids), update)
            await store.drop(update.root)
            assert list(await store.roots()) == []

    @in_trio
    async def test_a_dropped_root_can_be_put_again(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(2))
        async with storage("a") as store:
            await store.put(update.root, update.blocks)
            await store.drop(update.root)
            await store.put(update.root, update.blocks)
            assert list(await store.roots()) == [update.root]
            assert same(await fetched(store, update.cids), update)

    @in_trio
    async def test_puts_gets_and_drops_at_once_do_not_disturb_each_other(self, storage: OpenStorage) -> None:
        common = payloads(3)
        updates = [published(f"u{number}", *common, *payloads(3, seed=number)) for number in range(1, 9)]

        async def put_and_get(store: Storage, update: MadeUpUpdate) -> None:
            await store.put(update.root, update.blocks)
            assert same(await fetched(store, update.cids), update)

        async def put_and_drop(store: Storage, update: MadeUpUpdate) -> None:
            await store.put(update.root, update.blocks)
            await store.drop(update.root)

        async with storage("a") as store:
            async with trio.open_nursery() as nursery:
                for number, update in enumerate(updates):
                    nursery.start_soon(put_and_drop if number % 2 else put_and_get, store, update)
            assert sorted(await store.roots()) == sorted(update.root for update in updates[::2])
            for update in updates[::2]:
                assert same(await fetched(store, update.cids), update)

    @in_trio
    async def test_a_cancelled_get_leaves_the_storage_working(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(40, length=self.largest_payload))
        async with storage("a") as store:
            await store.put(update.root, update.blocks)
            with trio.CancelScope() as scope:
                cancel = in_loop(scope.cancel)
                await store.get(update.cids, lambda block: cancel())
            assert same(await fetched(store, update.cids), update)

    @in_trio
    async def test_a_cancelled_put_leaves_the_storage_working(self, storage: OpenStorage) -> None:
        cancelled, update = published("cancelled", *payloads(8)), published("u", *payloads(8, seed=1))
        async with storage("a") as store:
            with trio.CancelScope() as scope:
                await store.put(cancelled.root, cancelling(cancelled.blocks, scope))
            await store.put(update.root, update.blocks)
            assert update.root in await store.roots()
            assert same(await fetched(store, update.cids), update)
