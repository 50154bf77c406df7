"""Blocks from storages that lack them, garble them, hang or break: each is tried, each is told, none is waited for without end."""

from __future__ import annotations

import numpy as np
import pytest
import structlog
import trio
from structlog.testing import capture_logs

from learnae.content.cids import raw_cid
from learnae.errors import UnavailableError, UpdateRejectedError
from learnae.node.fetching import Fetcher, Transfer
from learnae.records import BLOCK_BYTES, Block
from learnae.testing.faults import Fault, FaultyStorage, always, nth
from learnae.testing.swarm import run_in_virtual_time

MODEL = {"w": np.arange(300_000, dtype=np.float32), "b": np.ones(3, np.float32)}  # three data blocks
LIMIT = 10_000_000


@pytest.fixture
def fetched(bench):
    """Fetches a publication from storages, and tells what came and what was told of the storages."""

    def run(publication, *storages, limit=LIMIT, seconds=60.0, hints=lambda peer, storage: ()):
        transfer, told = Transfer(limit), {}

        async def main():
            async with trio.open_nursery() as nursery:
                made = await bench(nursery, *storages)
                fetcher = Fetcher(made.named, made.services, hints, structlog.get_logger())
                try:
                    with trio.fail_after(seconds):
                        return await fetcher.fetch(publication.announcement, transfer)
                finally:
                    told.update(made.outages)
                    nursery.cancel_scope.cancel()

        try:
            return run_in_virtual_time(main), transfer, told
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    return run


def test_an_update_comes_whole_and_each_byte_is_counted_once(fetched, publication, shelf):
    update = publication(MODEL)
    content, transfer, _ = fetched(update, shelf(*update.packed.blocks))
    content.check()
    assert transfer.bytes == update.packed.bytes
    assert content.meta.number == 1


def test_what_the_first_storage_lacks_comes_from_the_next(fetched, publication, shelf):
    update = publication(MODEL)
    blocks = update.packed.blocks
    first, second = shelf(*blocks[::2]), shelf(*blocks[1::2])
    content, _, told = fetched(update, first, second)
    content.check()
    assert told == {}


def test_each_storage_is_asked_only_for_what_is_missing(fetched, publication, shelf):
    update = publication(MODEL)
    first, second = shelf(*update.packed.blocks), shelf()
    fetched(update, first, second)
    assert second.asked == []


def test_hints_reach_only_the_storage_of_their_name(fetched, publication, shelf):
    update = publication(MODEL)
    first, second = shelf(), shelf(*update.packed.blocks)
    fetched(update, first, second, hints=lambda peer, storage: (f"{storage} of {peer[:4]}",))
    peer = update.announcement.peer[:4]
    assert {hints for _, hints in first.asked} == {(f"s0 of {peer}",)}
    assert {hints for _, hints in second.asked} == {(f"s1 of {peer}",)}


def test_corrupt_blocks_are_refused_told_and_fetched_from_the_next(fetched, publication, shelf):
    update = publication(MODEL)
    garbled = FaultyStorage(shelf(*update.packed.blocks), always(Fault.GARBAGE, "get"))
    with capture_logs() as logs:
        content, transfer, told = fetched(update, garbled, shelf(*update.packed.blocks))
    content.check()
    assert transfer.bytes == update.packed.bytes
    assert "not what they are named by" in told["reading storage s0"]
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["outage"]


def test_a_block_above_the_size_bound_is_refused_though_its_hash_is_right():
    huge, transfer = bytes(BLOCK_BYTES + 1), Transfer(LIMIT)
    transfer.take(Block(raw_cid(huge), huge))
    assert (transfer.bytes, transfer.corrupt, transfer.blocks) == (0, 1, {})


def test_blocks_that_nobody_asked_for_are_not_kept(fetched, publication, shelf):
    update, other = publication(MODEL), publication({"w": np.zeros(5, np.float32)}, peer="bob")

    class Generous(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            for block in other.packed.blocks:
                deliver(block)
            await super().get(cids, deliver, hints=hints)

    store = Generous(shelf().context, update.packed.blocks)
    _, transfer, _ = fetched(update, store)
    assert set(transfer.blocks) == {block.cid for block in update.packed.blocks}


def test_more_than_was_expected_is_refused_by_its_announcement(fetched, publication, shelf):
    update = publication(MODEL, bytes=LIMIT + 1)
    store = shelf(*update.packed.blocks)
    with pytest.raises(UpdateRejectedError, match="too-large"):
        fetched(update, store)
    assert store.asked == []


def test_more_than_was_expected_is_refused_when_it_comes_whatever_was_announced(fetched, publication, shelf):
    update = publication(MODEL, bytes=10)
    with pytest.raises(UpdateRejectedError, match="too-large"):
        fetched(update, shelf(*update.packed.blocks), limit=update.packed.bytes - 1)


@pytest.mark.parametrize("lie", [{"signer": "mallory"}, {"announced": 2}], ids=["another peer", "another number"])
def test_a_meta_that_names_another_peer_or_number_is_refused(fetched, publication, shelf, lie):
    update = publication(MODEL, **lie)
    with pytest.raises(UpdateRejectedError, match="not-the-announced"):
        fetched(update, shelf(*update.packed.blocks))


def test_missing_blocks_are_unavailable_and_named(fetched, publication, shelf):
    update = publication(MODEL)
    *most, last = update.packed.blocks
    with pytest.raises(UnavailableError) as raised:
        fetched(update, shelf(*most), shelf(*most))
    assert raised.value.missing == (last.cid,)


def test_a_silent_storage_leaves_time_for_the_next(fetched, publication, shelf):
    update = publication(MODEL)
    silent = FaultyStorage(shelf(*update.packed.blocks), always(Fault.SILENCE, "get"))
    content, _, _ = fetched(update, silent, shelf(*update.packed.blocks), seconds=8.0)
    content.check()


HANGS = always(Fault.SILENCE, "get")


def test_a_storage_that_hangs_costs_an_update_that_another_has_little_whatever_the_number_of_reads(fetched, publication, shelf):
    """Root and meta, parts and data are read one after the other: the silence of the first storage is waited for once."""
    update = publication(MODEL)
    silent = FaultyStorage(shelf(*update.packed.blocks), HANGS)

    class Slow(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            await trio.sleep(1.0)
            await super().get(cids, deliver, hints=hints)

    content, _, _ = fetched(update, silent, Slow(shelf().context, update.packed.blocks), seconds=10.0)
    content.check()
    assert silent.faults.calls["get"] == 1


def test_a_storage_that_is_slow_to_begin_may_still_deliver_what_the_next_one_lacks(fetched, publication, shelf):
    update = publication(MODEL)

    class Hesitant(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            await trio.sleep(6.0 if not self.asked else 0.1)
            await super().get(cids, deliver, hints=hints)

    content, _, _ = fetched(update, Hesitant(shelf().context, update.packed.blocks), shelf(), seconds=10.0)
    content.check()


def test_a_storage_that_hangs_after_its_last_block_does_not_hold_up_what_is_whole(fetched, publication, shelf):
    update = publication(MODEL)

    class Lingering(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            await super().get(cids, deliver, hints=hints)
            await trio.sleep_forever()

    content, _, _ = fetched(update, Lingering(shelf().context, update.packed.blocks), seconds=10.0)
    content.check()


def test_a_storage_that_has_delivered_all_is_let_return_by_itself(fetched, publication, shelf):
    update, returned = publication(MODEL), []

    class Tidy(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            await super().get(cids, deliver, hints=hints)
            await trio.sleep(0.1)
            returned.append(cids)

    fetched(update, Tidy(shelf().context, update.packed.blocks))
    assert len(returned) == 3


def test_a_storage_that_goes_on_delivering_is_not_cut_short_for_the_next(fetched, publication, shelf):
    """Nine blocks, one each second, of ten seconds in all."""
    update = publication({"w": np.arange(9 * BLOCK_BYTES // 4 - 1000, dtype=np.float32)})

    class Slow(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            for cid in cids:
                await trio.sleep(0.75)
                deliver(self.blocks[cid])

    content, _, _ = fetched(update, Slow(shelf().context, update.packed.blocks), shelf(), seconds=10.0)
    content.check()


def test_a_single_silent_storage_is_cut_off_at_the_deadline(fetched, publication, shelf):
    update = publication(MODEL)
    with pytest.raises(trio.TooSlowError):
        fetched(update, FaultyStorage(shelf(), always(Fault.SILENCE, "get")), seconds=8.0)


@pytest.mark.parametrize(
    "plan",
    [nth(1, Fault.HALFWAY, "get"), nth(2, Fault.BEFORE, "get"), always(Fault.BEFORE, "get")],
    ids=["half way", "at the data", "from the start"],
)
def test_whatever_breaks_at_one_storage_comes_from_the_next(fetched, publication, shelf, plan):
    update = publication(MODEL)
    content, _, _ = fetched(update, FaultyStorage(shelf(*update.packed.blocks), plan), shelf(*update.packed.blocks))
    content.check()


@pytest.mark.parametrize("error", [KeyError("odd"), ExceptionGroup("odd", [ValueError("inner")])])
def test_a_storage_that_raises_something_odd_is_named_and_the_next_one_asked(fetched, publication, shelf, error):
    update = publication(MODEL)

    class Broken(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            raise error

    content, _, told = fetched(update, Broken(shelf().context), shelf(*update.packed.blocks))
    content.check()
    assert "plugin-0" in told["reading storage s0"]


def test_what_passes_the_limit_is_cut_off_at_once_and_is_the_peers_fault_whatever_the_storage_does(fetched, publication, shelf):
    update = publication(MODEL, bytes=10)

    class Concurrent(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            async with trio.open_nursery() as nursery:
                for cid in cids:
                    nursery.start_soon(self._one, cid, deliver)

        async def _one(self, cid, deliver):
            await trio.sleep(0.1)
            deliver(self.blocks[cid])
            await trio.sleep_forever()

    with pytest.raises(UpdateRejectedError, match="too-large: more than 50 bytes came"):
        fetched(update, Concurrent(shelf().context, update.packed.blocks), limit=50)


def test_a_storage_that_is_not_open_is_not_asked(fetched, publication, shelf):
    update = publication(MODEL)

    class Down(type(shelf())):
        async def __aenter__(self):
            raise UnavailableError("no daemon")

    closed = Down(shelf().context, update.packed.blocks)
    content, _, _ = fetched(update, closed, shelf(*update.packed.blocks))
    content.check()
    assert closed.asked == []
