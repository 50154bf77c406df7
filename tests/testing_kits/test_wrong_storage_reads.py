"""Storages that read wrongly on purpose: each is caught, by the tests that are about its mistake and by no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from learnae.errors import UnavailableError
from learnae.plugins.memory import MemoryStorage
from learnae.records import Block, Cid
from learnae.testing.kit import standard_tests
from learnae.testing.storage_faults import StorageFaults

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

UNKNOWN = "test_unknown_blocks_are_named_after_the_others_were_delivered"
ASKED_TWICE = "test_a_block_may_be_asked_for_twice"
AT_ONCE = "test_puts_gets_and_drops_at_once_do_not_disturb_each_other"
ALSO = {AT_ONCE, *standard_tests(StorageFaults)}  # which find other mistakes too
CANCELLED_GET = "test_a_cancelled_get_leaves_the_storage_working"
OTHER_PEER = "test_a_block_lives_while_another_peer_names_it"

EVERY_READ = {  # tests that fetch whole updates from one peer
    "test_what_was_put_is_delivered",
    "test_blocks_of_all_sizes_come_back_whole",
    "test_many_blocks_come_back_whole",
    ASKED_TWICE,
    "test_a_block_may_come_twice_in_one_put",
    "test_blocks_may_be_made_while_they_are_put",
    "test_hints_of_other_stores_do_no_harm",
    "test_put_returns_when_all_blocks_are_there",
    "test_what_was_put_outlives_a_crash",
    "test_what_was_put_outlives_a_leave",
    "test_peers_get_each_others_blocks",
    "test_a_block_lives_while_another_root_names_it",
    OTHER_PEER,
    "test_dropping_an_unknown_root_is_no_error",
    "test_a_root_put_twice_is_one_root",
    "test_a_dropped_root_can_be_put_again",
    "test_a_put_that_breaks_off_keeps_nothing",
    AT_ONCE,
    CANCELLED_GET,
    "test_a_cancelled_put_leaves_the_storage_working",
    "test_a_check_beside_a_run_disturbs_nothing",
    UNKNOWN,
}


class Lossy(MemoryStorage):
    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        await super().get(cids[:-1], deliver)


class Corrupting(MemoryStorage):
    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        await super().get(cids, lambda block: deliver(Block(block.cid, b"?" + block.data[1:])))


class Truncating(MemoryStorage):
    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        await super().get(cids, lambda block: deliver(Block(block.cid, block.data[:65_536])))


class Generous(MemoryStorage):
    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        await super().get(cids, deliver)
        for cid, data in self.store.blocks.items():
            deliver(Block(cid, data))


class Hasty(MemoryStorage):
    """Says that there is something missing before it delivers what there is."""

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        missing = [cid for cid in cids if cid not in self.store.blocks]
        if missing:
            raise UnavailableError("some are missing", missing)
        await super().get(cids, deliver)


class Vague(MemoryStorage):
    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        try:
            await super().get(cids, deliver)
        except UnavailableError as error:
            raise UnavailableError("some are missing", cids) from error


class Silent(MemoryStorage):
    """Waits for ever for a block that nobody has."""

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        try:
            await super().get(cids, deliver)
        except UnavailableError:
            await trio.sleep_forever()


class Pedantic(MemoryStorage):
    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        if len(set(cids)) < len(cids):
            raise ValueError("asked for twice")
        await super().get(cids, deliver)


class HintReading(MemoryStorage):
    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        assert all(hint.startswith("mine:") for hint in hints)
        await super().get(cids, deliver)


class Talkative(MemoryStorage):
    def hints(self) -> Sequence[str]:
        return [f"mine:{number}" for number in range(9)]


class Locking(MemoryStorage):
    """Does not let go of its lock when it is cancelled."""

    async def __aenter__(self) -> Locking:
        self.lock = trio.Semaphore(1)
        return self

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        await self.lock.acquire()
        try:
            await super().get(cids, deliver)
        except UnavailableError:
            self.lock.release()
            raise
        self.lock.release()


def test_the_right_one_is_not_caught(caught_storage: Callable[[type[MemoryStorage]], set[str]]) -> None:
    assert caught_storage(MemoryStorage) == set()


@pytest.mark.parametrize(
    ("wrong", "tests"),
    [
        (Lossy, EVERY_READ - {ASKED_TWICE} | {"test_only_what_was_asked_for_is_delivered", "test_a_block_goes_with_its_last_root"}),
        (Corrupting, EVERY_READ),
        (Truncating, {"test_blocks_of_all_sizes_come_back_whole", "test_many_blocks_come_back_whole", CANCELLED_GET}),
        (Generous, {"test_only_what_was_asked_for_is_delivered", AT_ONCE, "test_a_cancelled_put_leaves_the_storage_working"}),
        (Hasty, {UNKNOWN}),
        (Vague, {UNKNOWN}),
        (Silent, {UNKNOWN, "test_a_block_goes_with_its_last_root"}),
        (Pedantic, {ASKED_TWICE}),
        (HintReading, {"test_hints_of_other_stores_do_no_harm"}),
        (Talkative, {"test_own_hints_are_few_short_texts"}),
        (Locking, {CANCELLED_GET}),
    ],
)
def test_a_wrong_storage_is_caught_by_the_tests_about_its_mistake(
    wrong: type[MemoryStorage], tests: set[str], caught_storage: Callable[[type[MemoryStorage]], set[str]]
) -> None:
    assert tests <= caught_storage(wrong) <= tests | ALSO
