"""Peers under the same name with whom there is nothing to merge: told, once, and within bounds."""

from __future__ import annotations

import numpy as np
import trio
from structlog.testing import capture_logs

from learnae.node.lineage import MOST
from learnae.testing.faults import Fault, always
from tests.support.simulated import LINEAGE, start, value


def test_another_architecture_under_the_same_name_is_told_on_both_sides_once(run_world):
    async def main(world):
        return await world.two_for(20, *({"w": np.zeros(size, np.float32)} for size in (4, 5)))

    with capture_logs() as logs:
        a, b = run_world(main)
    said = {line["peer"]: line["first_difference"] for line in logs if line["event"] == "architecture.differs"}
    assert [line["event"] for line in logs].count("architecture.differs") == 2
    assert set(said.values()) == {"w is 4 here, 5 there", "w is 5 here, 4 there"}
    for peer in (a, b):
        found = [verdict for report in peer.trainer.reports for verdict in report.verdicts if verdict.stage == "architecture"]
        assert len(found) == 1
        assert value(peer) == 0.0


def test_an_architecture_that_cannot_be_read_costs_each_round_no_more_than_one_look(run_world):
    async def main(world):
        strangers = [world.peer(f"s{size}", {"w": np.zeros(size, np.float32)}, lineage=LINEAGE) for size in range(5, 9)]
        start(*strangers)
        a = world.peer("a", {"w": np.zeros(4, np.float32)}, lineage=LINEAGE).start()
        world.weather.storage[a.peer] = always(Fault.SILENCE, "get")
        await trio.sleep(150)
        return a

    a = run_world(main)
    looks = [[verdict.stage for verdict in report.verdicts].count("architecture") for report in a.trainer.reports]
    assert max(looks) == 1
    assert 1 <= sum(looks) <= 3
    assert a.trainer.progress.steps >= 149


def test_many_lineages_under_one_name_are_reported_up_to_a_bound(run_world):
    async def main(world):
        a = world.peer("a", lineage=LINEAGE)
        for number in range(12):
            world.peer(f"p{number}", lineage=bytes([number]) * 8).start()
        a.start()
        await trio.sleep(10.5)
        return a

    with capture_logs() as logs:
        a = run_world(main)
    assert len(a.trainer.reports[-1].splits) == MOST
    told = [line["what"] for line in logs if line["event"] == "outage" and line["own"] == "a"]
    assert len(told) == MOST
