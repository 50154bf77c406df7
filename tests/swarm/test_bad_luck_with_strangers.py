"""Peers under the same name with whom there is nothing to merge: told, once, and within bounds."""

from __future__ import annotations

import numpy as np
import pytest
import trio
from structlog.testing import capture_logs

from learnae.node.lineage import MOST
from learnae.testing.faults import Fault, always
from tests.support.simulated import LINEAGE, start, value

pytestmark = pytest.mark.virtual_time


async def test_another_architecture_under_the_same_name_is_told_on_both_sides_once(a_world):
    with capture_logs() as logs:
        async with a_world() as world:
            a, b = await world.two_for(20, *({"w": np.zeros(size, np.float32)} for size in (4, 5)))
    said = {line["peer"]: line["first_difference"] for line in logs if line["event"] == "architecture.differs"}
    assert [line["event"] for line in logs].count("architecture.differs") == 2
    assert set(said.values()) == {"w is 4 here, 5 there", "w is 5 here, 4 there"}
    for peer in (a, b):
        found = [verdict for report in peer.trainer.reports for verdict in report.verdicts if verdict.stage == "architecture"]
        assert len(found) == 1
        assert value(peer) == 0.0


async def test_an_architecture_that_cannot_be_read_costs_each_round_no_more_than_one_look(a_world):
    async with a_world() as world:
        strangers = [world.peer(f"s{size}", {"w": np.zeros(size, np.float32)}, lineage=LINEAGE) for size in range(5, 9)]
        start(*strangers)
        a = world.peer("a", {"w": np.zeros(4, np.float32)}, lineage=LINEAGE).start()
        world.weather.storage[a.peer] = always(Fault.SILENCE, "get")
        await trio.sleep(150)
    looks = [[verdict.stage for verdict in report.verdicts].count("architecture") for report in a.trainer.reports]
    assert max(looks) == 1
    assert 1 <= sum(looks) <= 3
    assert a.trainer.progress.steps >= 149


async def test_many_lineages_under_one_name_are_reported_up_to_a_bound(a_world):
    with capture_logs() as logs:
        async with a_world() as world:
            a = world.peer("a", lineage=LINEAGE)
            for number in range(12):
                world.peer(f"p{number}", lineage=bytes([number]) * 8).start()
            a.start()
            await trio.sleep(10.5)
    assert len(a.trainer.reports[-1].splits) == MOST
    told = [line["what"] for line in logs if line["event"] == "outage" and line["own"] == "a"]
    assert len(told) == MOST
