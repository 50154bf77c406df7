"""Models, codecs, hints and disks with which nothing can be published: told once, and training goes on."""

from __future__ import annotations

import numpy as np
import pytest
import trio
from structlog.testing import capture_logs

from learnae.errors import UnavailableError
from learnae.plugins.codec import Fp32
from learnae.plugins.memory import MemoryStorage
from learnae.records import AnnouncementKind
from tests.support.simulated import LINEAGE, events, outages

pytestmark = pytest.mark.virtual_time


async def test_a_model_that_is_not_finite_is_neither_published_nor_merged_and_both_ends_are_told_once(a_world):
    with capture_logs() as logs:
        async with a_world() as world:
            a, b = world.two()
            await trio.sleep(5.5)
            a.trainer.model["w"][:] = [np.inf, -np.inf, np.nan, 1.0]
            await trio.sleep(5)
            a.trainer.model["w"][:] = 4.0
            await trio.sleep(5)
    silent = [report for report in a.trainer.reports if report.published is None]
    assert 4 <= len(silent) <= 6
    assert {report.outcome for report in silent} == {"alone"}
    assert np.isfinite(b.trainer.model["w"]).all()
    assert outages(logs) == [("outage", "model"), ("outage.over", "model")]
    assert "w (3 of 4 values)" in next(line["cause"] for line in logs if line["event"] == "outage" and line["what"] == "model")


async def test_a_codec_that_cannot_encode_is_told_once_and_training_goes_on(a_world):
    class Breaks(Fp32):
        def encode(self, name, tensor, base, rng):
            raise OverflowError("too much")

    with capture_logs() as logs:
        async with a_world(strategies={"codec": {"breaks": Breaks}}, codec={"use": "breaks"}) as world:
            a = world.peer("a", {"w": np.zeros((40, 40), np.float32)}, lineage=LINEAGE).start()  # smaller ones travel without a codec
            await trio.sleep(10.5)
    assert len(a.trainer.reports) >= 8
    [line] = events(logs, "outage")
    assert "bad-luck" in line["cause"]


async def test_a_disk_that_is_full_stops_the_node_and_not_the_training_and_both_ends_are_told_once(a_world):
    class Full:
        """The history's lock, which every statement takes."""

        def __enter__(self):
            raise UnavailableError("disk full")

        def __exit__(self, *exc_info):
            pass

    with capture_logs() as logs:
        async with a_world() as world:
            a, _ = await world.two_for(10.5)
            lock, a.history.database._lock = a.history.database._lock, Full()
            await trio.sleep(40)
            during = len(a.trainer.reports)
            a.history.database._lock = lock
            await trio.sleep(10)
    assert during <= 11
    assert len(a.trainer.reports) >= during + 9
    assert a.trainer.progress.steps == 60
    assert outages(logs) == [("outage", "history"), ("outage.over", "history")]


@pytest.mark.parametrize("hints", [None, "text", 7, [b"bytes"], ["x" * 1000], ["a\nb"], RuntimeError("oops")], ids=repr)
async def test_hints_that_others_would_refuse_are_left_out_and_told_once(a_world, hints):
    class Odd(MemoryStorage):
        def hints(self):
            if isinstance(hints, Exception):
                raise hints
            return hints

    with capture_logs() as logs:
        async with a_world(strategies={"storage": {"odd": Odd}}, storage={"use": "odd"}) as world:
            a = world.peer("a", lineage=LINEAGE).start()
            await trio.sleep(100)
            present = [key for key in world.swarm.medium.newest if key[1] == f"{a.peer}/{AnnouncementKind.PRESENT.value}".encode()]
    assert len(present) == 1
    assert len(a.trainer.reports) > 90
    if hints != "text":
        assert outages(logs) == [("outage", "hints of storage odd")]


async def test_the_hints_of_every_storage_reach_the_others_within_bounds(a_world):
    class Reachable(MemoryStorage):
        def hints(self):
            return [f"address-{number}" for number in range(20)]

    async with a_world(strategies={"storage": {"reachable": Reachable}}, storage=[{"use": "reachable"}, {"use": "stormy"}]) as world:
        a, b = world.two()
        await trio.sleep(5)
        reachable, none = b.node.receiver.hints(a.peer, "reachable"), b.node.receiver.hints(a.peer, "stormy")
    assert reachable == tuple(f"address-{number}" for number in range(8))
    assert none == ()


async def test_a_store_that_moves_is_told_of_within_seconds(a_world):
    class Moving(MemoryStorage):
        def hints(self):
            return ["here"] if trio.current_time() - self.began < 40 else ["there"]

        async def __aenter__(self):
            self.began = trio.current_time()
            return await super().__aenter__()

    async with a_world(strategies={"storage": {"moving": Moving}}, storage={"use": "moving"}) as world:
        a, b = world.two()
        await trio.sleep(39)
        before = b.node.receiver.hints(a.peer, "moving")
        await trio.sleep(5)
        found = before, b.node.receiver.hints(a.peer, "moving")
    assert found == (("here",), ("there",))
