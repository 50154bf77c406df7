"""What every storage must do when something goes wrong in the middle."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import ClassVar

import attrs
import pytest
import trio

from learnae.errors import UnavailableError
from learnae.plugins.calls import ungrouped
from learnae.records import Block
from learnae.strategies import Storage
from learnae.testing.kit import MediumFaults, in_trio
from learnae.testing.published import (
    MadeUpUpdate,
    OpenStorage,
    breaking_off,
    cancelling,
    doing_between,
    fetched,
    in_loop,
    missing_in,
    payloads,
    published,
    same,
)


@attrs.define(eq=False)
class Cut(trio.abc.Instrument):
    """Cancels `scope` in the wait of this task that has this number, from 0: while it waits, or once it has what it waited for."""

    at: int
    afterwards: bool
    task: trio.lowlevel.Task = attrs.field(factory=trio.lowlevel.current_task)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    waits: int = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            if self.waits == self.at and not self.afterwards:
                self.scope.cancel()
            self.waits += 1

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task and self.waits == self.at + 1 and self.afterwards:
            self.scope.cancel()


@contextmanager
def cut_at(at: int, *, afterwards: bool) -> Iterator[Cut]:
    """What runs inside is cancelled there; not at all when it waits less often."""
    cut = Cut(at, afterwards)
    trio.lowlevel.add_instrument(cut)
    try:
        with cut.scope:
            yield cut
    finally:
        trio.lowlevel.remove_instrument(cut)


PLACES = (0, 1, 4, 8)  # blocks of ten that came before it goes wrong
WAITS = (*range(14), 17, 21, 27, 35, 50, 80)  # in which a put is cut off


class StorageFaults(MediumFaults):
    """A `put` is all or nothing, whatever breaks. The kit also breaks the medium, if your subclass defines `out_of_order`."""

    frees_on_drop: ClassVar[bool] = True
    """Whether a block is gone as soon as no root names it: when `drop` returns, and after a `put` that failed."""

    async def nothing_is_left(self, storage: Storage, update: MadeUpUpdate) -> None:
        """Nothing of it counts as there, and it can be put as if nothing had happened."""
        assert update.root not in await storage.roots(), "roots() names what was not put whole"
        if self.frees_on_drop:
            assert await missing_in(storage, update.cids) == set(update.cids), "blocks are delivered of what was not put whole"
        await storage.put(update.root, update.blocks)
        assert same(await fetched(storage, update.cids), update)
        await storage.drop(update.root)

    async def all_or_nothing(self, storage: Storage, update: MadeUpUpdate, *, returned: bool) -> None:
        if returned:
            assert update.root in await storage.roots()
            assert same(await fetched(storage, update.cids), update)
            await storage.drop(update.root)
        else:
            await self.nothing_is_left(storage, update)

    @in_trio
    async def test_a_put_that_breaks_off_keeps_nothing(self, storage: OpenStorage) -> None:
        async with storage("a") as store:
            for after in PLACES:
                update = published(f"broken off after {after}", *payloads(8, seed=after))
                with pytest.raises(ZeroDivisionError), ungrouped():
                    await store.put(update.root, breaking_off(update.blocks, after))
                await self.nothing_is_left(store, update)
            assert list(await store.roots()) == []

    @in_trio
    async def test_a_put_that_is_cancelled_keeps_all_or_nothing(self, storage: OpenStorage) -> None:
        async with storage("a") as store:
            for after in PLACES:
                update = published(f"cancelled after {after}", *payloads(8, seed=after, length=100_000))
                with trio.CancelScope() as scope:
                    await store.put(update.root, cancelling(update.blocks, scope, after))
                async with storage("a") as another:  # as the next run of this peer would
                    await self.all_or_nothing(another, update, returned=not scope.cancelled_caught)

    @in_trio
    async def test_a_put_whose_time_is_over_keeps_all_or_nothing(self, storage: OpenStorage) -> None:
        """Wherever it waits; each in a storage that was just opened, since the first call may do more than others."""
        for at in WAITS:
            waits = [await self.cut_off(storage, at, afterwards=afterwards) for afterwards in (False, True)]
            if max(waits) <= at:
                break

    async def cut_off(self, storage: OpenStorage, at: int, *, afterwards: bool) -> int:
        """In this wait of a put, if there are so many. Returns how many there were."""
        update = published(f"{at} waits", *payloads(8, seed=at, length=100_000))
        async with storage("a") as store:
            with cut_at(at, afterwards=afterwards) as cut:
                await store.put(update.root, update.blocks)
            await self.all_or_nothing(store, update, returned=not cut.scope.cancelled_caught)
        return cut.waits

    @in_trio
    async def test_a_put_that_fails_takes_no_block_of_another_with_it(self, storage: OpenStorage) -> None:
        common = payloads(4)
        one, two = published("one", *common, b"one's own"), published("two", *common, *payloads(4, seed=1))
        async with storage("a") as store:
            await store.put(one.root, one.blocks)
            with pytest.raises(ZeroDivisionError), ungrouped():
                await store.put(two.root, breaking_off(two.blocks, len(two.blocks) - 1))
            assert list(await store.roots()) == [one.root]
            assert same(await fetched(store, one.cids), one)

    @in_trio
    async def test_nothing_is_delivered_after_a_get_has_ended(self, storage: OpenStorage) -> None:
        update, other = published("u", *payloads(40, length=100_000)), published("other", *payloads(2, seed=1))
        delivered: list[Block] = []
        async with storage("a") as store:
            await store.put(update.root, update.blocks)
            with trio.CancelScope() as scope:
                cancel = in_loop(scope.cancel)

                def take(block: Block) -> None:
                    delivered.append(block)
                    cancel()

                await store.get(update.cids, take)
            count = len(delivered)
            await store.put(other.root, other.blocks)
            assert same(await fetched(store, other.cids), other)
            assert len(delivered) == count

    @in_trio
    async def test_while_the_medium_is_out_of_order_a_put_is_unavailable_and_keeps_nothing(self, storage: OpenStorage) -> None:
        before, update = published("before", *payloads(3)), published("u", *payloads(8, seed=1))
        async with storage("a") as store:
            await store.put(before.root, before.blocks)
            with self.breaking(store), pytest.raises(UnavailableError), ungrouped():
                await store.put(update.root, update.blocks)
            await self.nothing_is_left(store, update)
            assert same(await fetched(store, before.cids), before)

    @in_trio
    async def test_a_medium_that_breaks_during_a_put_leaves_all_or_nothing(self, storage: OpenStorage) -> None:
        async with storage("a") as store:
            for after in PLACES:
                update, returned = published(f"after {after}", *payloads(8, seed=after)), False
                with ExitStack() as broken:
                    break_it = functools.partial(broken.enter_context, self.breaking(store))
                    try:
                        with ungrouped():
                            await store.put(update.root, doing_between(update.blocks, break_it, after))
                        returned = True
                    except UnavailableError:
                        pass
                await self.all_or_nothing(store, update, returned=returned)

    @in_trio
    async def test_while_the_medium_is_out_of_order_a_get_names_all_as_missing(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(3))
        async with storage("a") as store:
            await store.put(update.root, update.blocks)
            with self.breaking(store):
                assert await missing_in(store, update.cids) == set(update.cids)
            assert same(await fetched(store, update.cids), update)

    @in_trio
    async def test_while_the_medium_is_out_of_order_roots_and_drops_are_unavailable(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(3))
        async with storage("a") as store:
            await store.put(update.root, update.blocks)
            with self.breaking(store):
                with pytest.raises(UnavailableError), ungrouped():
                    await store.roots()
                with pytest.raises(UnavailableError), ungrouped():
                    await store.drop(update.root)
            await store.drop(update.root)
            assert list(await store.roots()) == []
