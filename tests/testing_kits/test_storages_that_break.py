"""Storages that are right while all goes well, and wrong when something breaks: each is caught, by the tests about its mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest
import trio

from learnae.errors import UnavailableError
from learnae.plugins.memory import MemoryStorage
from learnae.records import Block, Cid
from learnae.testing.kit import standard_tests
from learnae.testing.storage_faults import StorageFaults
from tests.support.breakable_storage import Breakable, Gauge

Deliver = Callable[[Block], None]

BREAKS_OFF = "test_a_put_that_breaks_off_keeps_nothing"
CANCELLED = "test_a_put_that_is_cancelled_keeps_all_or_nothing"
TIME_OVER = "test_a_put_whose_time_is_over_keeps_all_or_nothing"
OF_ANOTHER = "test_a_put_that_fails_takes_no_block_of_another_with_it"
LATE = "test_nothing_is_delivered_after_a_get_has_ended"
BROKEN_PUT = "test_while_the_medium_is_out_of_order_a_put_is_unavailable_and_keeps_nothing"
BREAKS_DURING = "test_a_medium_that_breaks_during_a_put_leaves_all_or_nothing"
BROKEN_GET = "test_while_the_medium_is_out_of_order_a_get_names_all_as_missing"
BROKEN_REST = "test_while_the_medium_is_out_of_order_roots_and_drops_are_unavailable"
FAULTS = set(standard_tests(StorageFaults))


class BlockByBlock(Breakable):
    """Keeps each block as it comes; what was kept of a put that failed stays."""

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        self.look()
        kept: dict[Cid, bytes] = {}
        for block in blocks:
            self.look()
            await trio.lowlevel.checkpoint()
            kept[block.cid] = block.data
            self.store.blocks.setdefault(block.cid, block.data)
        self.store.put(self.context.peer, root, kept)


class RootFirst(Breakable):
    """Names the root with what it has so far, block after block."""

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        self.look()
        kept: dict[Cid, bytes] = {}
        for block in blocks:
            self.look()
            kept[block.cid] = block.data
            self.store.put(self.context.peer, root, kept)
            await trio.lowlevel.checkpoint()
        self.store.put(self.context.peer, root, kept)


class TidiesErrors(RootFirst):
    """The same, but takes the root away again when something is raised; a cancellation is no Exception."""

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        try:
            await super().put(root, blocks)
        except Exception:
            self.store.drop(self.context.peer, root)
            raise


class TidiesTooMuch(Breakable):
    """Throws away all blocks of a put that failed, also those that another root names."""

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        seen: list[Cid] = []
        try:
            await super().put(root, (seen.append(block.cid) or block for block in blocks))  # type: ignore[func-returns-value]
        except BaseException:
            for cid in seen:
                self.store.blocks.pop(cid, None)
            raise


class LateToStop(Breakable):
    """Goes on delivering after its get was cancelled."""

    async def get(self, cids: Sequence[Cid], deliver: Deliver, *, hints: Sequence[str] = ()) -> None:
        self.look(list(cids))
        try:
            await super().get(cids, deliver)
        except trio.Cancelled:
            trio.lowlevel.spawn_system_task(super().get, cids, deliver)
            raise


class Optimistic(Breakable):
    """Believes that what it could not send will arrive."""

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        taken = list(blocks)
        if not self.context.share(Gauge).broken:
            await super().put(root, taken)


class HalfSent(Breakable):
    """When the medium breaks, what was sent before stays, under the root."""

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        self.look()
        taken: dict[Cid, bytes] = {}
        for block in blocks:
            if self.context.share(Gauge).broken:
                self.store.put(self.context.peer, root, taken)
                raise UnavailableError("out of order")
            taken[block.cid] = block.data
        await trio.lowlevel.checkpoint()
        self.store.put(self.context.peer, root, taken)


class Vague(Breakable):
    """Does not say what is missing when the medium is out of order."""

    def look(self, missing: Sequence[Cid] = ()) -> None:
        super().look()


class Raw(Breakable):
    """Lets the errors of its medium through as they are."""

    def look(self, missing: Sequence[Cid] = ()) -> None:
        if self.context.share(Gauge).broken:
            raise ConnectionError("refused")


class Blind(Breakable):
    """Has no roots and drops nothing while it cannot look."""

    async def roots(self) -> Sequence[Cid]:
        return [] if self.context.share(Gauge).broken else await super().roots()

    async def drop(self, root: Cid) -> None:
        if not self.context.share(Gauge).broken:
            await super().drop(root)


class Offended(Breakable):
    """Never works again once its medium was out of order."""

    offended = False

    def look(self, missing: Sequence[Cid] = ()) -> None:
        self.offended = self.offended or self.context.share(Gauge).broken
        if self.offended:
            raise UnavailableError("never again", missing)


@pytest.mark.parametrize(
    ("wrong", "tests"),
    [
        (BlockByBlock, {BREAKS_OFF, CANCELLED, BREAKS_DURING}),
        (RootFirst, {BREAKS_OFF, CANCELLED, OF_ANOTHER, BREAKS_DURING}),
        (TidiesErrors, {CANCELLED}),
        (TidiesTooMuch, {OF_ANOTHER}),
        (LateToStop, {LATE}),
        (Optimistic, {BROKEN_PUT, BREAKS_DURING}),
        (HalfSent, {BREAKS_DURING}),
        (Vague, {BROKEN_GET}),
        (Raw, {BROKEN_PUT, BREAKS_DURING, BROKEN_GET, BROKEN_REST}),
        (Blind, {BROKEN_REST}),
        (Offended, {BROKEN_PUT, BREAKS_DURING, BROKEN_GET, BROKEN_REST}),
    ],
)
def test_a_storage_that_is_wrong_when_something_breaks_is_caught(
    wrong: type[MemoryStorage], tests: set[str], caught_storage: Callable[[type[MemoryStorage]], set[str]]
) -> None:
    found = caught_storage(wrong)
    assert tests <= found
    assert found & FAULTS <= tests | {TIME_OVER}


# -- right ones --------------------------------------------------------------------------------------------------------------------


class InGroups(Breakable):
    """Works in nurseries of its own: what it raises comes in groups."""

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().put, root, blocks)

    async def get(self, cids: Sequence[Cid], deliver: Deliver, *, hints: Sequence[str] = ()) -> None:
        async with trio.open_nursery() as nursery:
            half = len(cids) // 2
            nursery.start_soon(self._some, cids[:half], deliver)
            nursery.start_soon(self._some, cids[half:], deliver)
            await trio.lowlevel.checkpoint()
            if missing := [cid for cid in cids if cid not in self.store.blocks]:
                await trio.sleep(0.1)
                raise UnavailableError("not there", missing)

    async def _some(self, cids: Sequence[Cid], deliver: Deliver) -> None:
        self.look(cids)
        await super().get([cid for cid in cids if cid in self.store.blocks], deliver)


class FromThreads(Breakable):
    """Delivers out of worker threads."""

    async def get(self, cids: Sequence[Cid], deliver: Deliver, *, hints: Sequence[str] = ()) -> None:
        found: list[Block] = []
        try:
            await super().get(cids, found.append)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(lambda: [deliver(block) for block in found])


@pytest.mark.parametrize("right", [Breakable, InGroups], ids=lambda kind: kind.__name__)
def test_a_right_one_is_not_caught(right: type[MemoryStorage], caught_storage: Callable[[type[MemoryStorage]], set[str]]) -> None:
    assert caught_storage(right) == set()


def test_one_that_delivers_from_threads_is_not_caught(caught_in_real_time: Callable[[type[MemoryStorage]], set[str]]) -> None:
    assert caught_in_real_time(FromThreads) == set()


def test_what_cannot_be_put_out_of_order_is_skipped_visibly() -> None:
    class Unbreakable(StorageFaults):
        pass

    with pytest.raises(pytest.skip.Exception, match="out_of_order"):
        Unbreakable().breaking(None)  # type: ignore[arg-type]
