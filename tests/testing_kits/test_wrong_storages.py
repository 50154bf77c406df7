"""Storages that keep wrongly on purpose: each is caught, by the tests that are about its mistake and by no other."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest
import trio

from learnae.plugins.memory import MemoryStorage
from learnae.records import Block, Cid
from learnae.testing.kit import standard_tests
from learnae.testing.storage_faults import StorageFaults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

AT_ONCE = "test_puts_gets_and_drops_at_once_do_not_disturb_each_other"
ALSO = {AT_ONCE, *standard_tests(StorageFaults)}  # which find other mistakes too
CANCELLED_PUT = "test_a_cancelled_put_leaves_the_storage_working"
CHECK_FIRST = "test_a_check_before_the_first_run_leaves_nothing_behind"
CHECK_BESIDE = "test_a_check_beside_a_run_disturbs_nothing"
OTHER_PEER = "test_a_block_lives_while_another_peer_names_it"


class Pedantic(MemoryStorage):
    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        blocks = list(blocks)
        if len({block.cid for block in blocks}) < len(blocks):
            raise ValueError("put twice")
        await super().put(root, blocks)


class Measuring(MemoryStorage):
    async def put(self, root: Cid, blocks: Any) -> None:
        assert len(blocks) < 1_000_000
        await super().put(root, blocks)


class Early(MemoryStorage):
    """Returns from put before it has put: the work is done when this instance is used next, or left."""

    _later: tuple[Cid, list[Block]] | None = None

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        await self._catch_up()
        self._later = root, list(blocks)

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        await self._catch_up()
        await super().get(cids, deliver)

    async def drop(self, root: Cid) -> None:
        await self._catch_up()
        await super().drop(root)

    async def roots(self) -> Sequence[Cid]:
        await self._catch_up()
        return await super().roots()

    async def __aexit__(self, *exc_info: object) -> None:
        await self._catch_up()

    async def _catch_up(self) -> None:
        later, self._later = self._later, None
        if later:
            await super().put(*later)


class Forgetful(MemoryStorage):
    async def __aexit__(self, *exc_info: object) -> None:
        for root in await self.roots():
            await self.drop(root)


class CarelessDrop(MemoryStorage):
    """Takes away blocks that other roots name."""

    async def drop(self, root: Cid) -> None:
        for cid in self.store.roots.get((self.context.peer, root), ()):
            self.store.blocks[cid] = b""
        await super().drop(root)


class StrictDrop(MemoryStorage):
    async def drop(self, root: Cid) -> None:
        if (self.context.peer, root) not in self.store.roots:
            raise KeyError(root)
        await super().drop(root)


class Hoarding(MemoryStorage):
    async def drop(self, root: Cid) -> None:
        self.store.roots.pop((self.context.peer, root), None)


class Counting(MemoryStorage):
    """A root that was put twice must be dropped twice."""

    async def __aenter__(self) -> Counting:
        self.counts: dict[Cid, int] = {}
        return self

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        await super().put(root, blocks)
        self.counts[root] = self.counts.get(root, 0) + 1

    async def drop(self, root: Cid) -> None:
        self.counts[root] = self.counts.get(root, 1) - 1
        if self.counts[root] == 0:
            await super().drop(root)


class Unchanging(MemoryStorage):
    """Believes that a root which was put once is there for ever."""

    async def __aenter__(self) -> Unchanging:
        self.known: set[Cid] = set()
        return self

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        if root not in self.known:
            await super().put(root, blocks)
            self.known.add(root)


class Communal(MemoryStorage):
    """Does not know whose a root is."""

    async def roots(self) -> Sequence[Cid]:
        await trio.lowlevel.checkpoint()
        return list(dict.fromkeys(root for _, root in self.store.roots))


class Eager(MemoryStorage):
    """Names the root before it has its blocks."""

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        self.store.put(self.context.peer, root, {})
        await super().put(root, blocks)


class Absentminded(MemoryStorage):
    """Can do one thing at a time only."""

    _root: Cid

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        self._root = root
        await trio.sleep(0.01)
        await super().put(self._root, blocks)


class Locking(MemoryStorage):
    """Does not let go of its lock when it is cancelled."""

    async def __aenter__(self) -> Locking:
        self.lock = trio.Semaphore(1)
        return self

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        await self.lock.acquire()
        try:
            await super().put(root, blocks)
            await trio.sleep(0.01)
        except ZeroDivisionError:
            self.lock.release()
            raise
        self.lock.release()


class Hanging(MemoryStorage):
    async def check(self) -> Sequence[str]:
        await trio.sleep_forever()
        return ()


class Mumbling(MemoryStorage):
    async def check(self) -> Any:
        await trio.lowlevel.checkpoint()
        return "fine"


class Littering(MemoryStorage):
    """Tries its folder out, and leaves what it wrote."""

    async def check(self) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        self.context.home.mkdir(parents=True, exist_ok=True)
        (self.context.home / secrets.token_hex(8)).touch()
        return ()


class Tidying(MemoryStorage):
    """Takes what a run beside it has put for what a crash has left."""

    async def check(self) -> Sequence[str]:
        for root in await self.roots():
            await self.drop(root)
        return ()


@pytest.mark.parametrize(
    ("wrong", "tests"),
    [
        (Pedantic, {"test_a_block_may_come_twice_in_one_put"}),
        (Measuring, {"test_blocks_may_be_made_while_they_are_put", "test_a_put_that_breaks_off_keeps_nothing", CANCELLED_PUT}),
        (Early, {"test_put_returns_when_all_blocks_are_there", "test_what_was_put_outlives_a_crash", "test_peers_get_each_others_blocks"}),
        (Forgetful, {"test_what_was_put_outlives_a_leave"}),
        (CarelessDrop, {"test_a_block_lives_while_another_root_names_it", OTHER_PEER}),
        (StrictDrop, {"test_dropping_an_unknown_root_is_no_error"}),
        (Hoarding, {"test_a_block_goes_with_its_last_root"}),
        (Counting, {"test_a_root_put_twice_is_one_root"}),
        (Unchanging, {"test_a_dropped_root_can_be_put_again"}),
        (Communal, {"test_roots_of_two_peers_are_kept_apart", OTHER_PEER}),
        (Eager, {"test_a_put_that_breaks_off_keeps_nothing"}),
        (Absentminded, {AT_ONCE}),
        (Locking, {CANCELLED_PUT}),
        (Hanging, {CHECK_FIRST, CHECK_BESIDE}),
        (Mumbling, {CHECK_FIRST, CHECK_BESIDE}),
        (Littering, {CHECK_FIRST}),
        (Tidying, {CHECK_BESIDE}),
    ],
)
def test_a_wrong_storage_is_caught_by_the_tests_about_its_mistake(
    wrong: type[MemoryStorage], tests: set[str], caught_storage: Callable[[type[MemoryStorage]], set[str]]
) -> None:
    assert tests <= caught_storage(wrong) <= tests | ALSO
