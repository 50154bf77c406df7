"""Which storage is asked first: that of the file, but for a while after the one that was silent about what another had."""

from __future__ import annotations

import numpy as np
import pytest
import structlog
import trio

from learnae.node.fetching import Fetcher, Transfer
from learnae.node.services import REST_SECONDS
from learnae.testing.faults import Fault, FaultyStorage

pytestmark = pytest.mark.virtual_time

MODEL = {"w": np.arange(300_000, dtype=np.float32), "b": np.ones(3, np.float32)}  # three data blocks
LIMIT = 10_000_000


async def test_a_storage_that_was_silent_is_asked_last_for_a_while(bench, publication, shelf):
    update = publication(MODEL)

    async with trio.open_nursery() as nursery:
        silent = FaultyStorage(shelf(*update.packed.blocks), lambda method, call: Fault.SILENCE if call == 0 else None)
        made = await bench(nursery, silent, shelf(*update.packed.blocks))
        fetcher = Fetcher(made.named, made.services, lambda peer, storage: (), structlog.get_logger())
        asked = []
        for pause in (0.0, 1.0, REST_SECONDS[0]):
            await trio.sleep(pause)
            with trio.fail_after(8):
                await fetcher.fetch(update.announcement, Transfer(LIMIT))
            asked.append(silent.faults.calls["get"])
        nursery.cancel_scope.cancel()
    first, second, third = asked
    assert (first, second) == (1, 1)
    assert third > 1


async def test_silence_about_blocks_that_nobody_has_does_not_change_who_is_asked_first_for_others(bench, publication, shelf):
    """As an IPFS daemon does, each storage searches for what it lacks; a stranger announces roots that are nowhere."""
    update, nowhere = publication(MODEL), publication({"w": np.ones(5, np.float32)}, peer="mallory")

    class Searching(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            if not all(cid in self.blocks for cid in cids):
                await trio.sleep_forever()
            await super().get(cids, deliver, hints=hints)

    async with trio.open_nursery() as nursery:
        made = await bench(nursery, Searching(shelf().context, update.packed.blocks), Searching(shelf().context))
        fetcher = Fetcher(made.named, made.services, lambda peer, storage: (), structlog.get_logger())
        for _ in range(3):
            with trio.move_on_after(1.0) as bogus:
                await fetcher.fetch(nowhere.announcement, Transfer(LIMIT))
            assert bogus.cancelled_caught
            began = trio.current_time()
            with trio.fail_after(1.0):
                await fetcher.fetch(update.announcement, Transfer(LIMIT))
            assert trio.current_time() == began, "the second storage was asked first"
        nursery.cancel_scope.cancel()
