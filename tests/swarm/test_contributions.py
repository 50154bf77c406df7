"""Peers count what others gave them, through the real node."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest
import trio

from learnae.link.messages import Evaluation
from learnae.node.contributions import Contribution
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.support.rows import SHARES, TAKES, digits, give, pool_of, with_rows
from tests.support.simulated import merged_of, start, wandering

pytestmark = pytest.mark.virtual_time


def given_to(peer: SimulatedPeer) -> dict[str, Contribution]:
    return {one.peer: one.given for one in peer.history.reader.contributions()}


async def test_what_came_of_a_peer_is_counted_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        giver, taker = with_rows(swarm, "a", digits((1, 2)), SHARES), with_rows(swarm, "b", digits((3, 4)), TAKES)
        give(giver, digits((1, 2)), most_rows=5)
        start(giver, taker)
        await trio.sleep(40)
        taker.kill_node()
        taker.start_node()
        await trio.sleep(40)
        merged = merged_of(taker, giver)
        found = given_to(taker)[giver.peer]
        assert len(merged) > 20
        assert (found.merged, found.weight) == (len(merged), pytest.approx(sum(verdict.weight for verdict in merged)))
        assert found.rows == sum(one.rows for one in pool_of(taker)) > 0
        assert found.bytes == sum(report.fetched_bytes for report in taker.trainer.reports)
        assert given_to(giver)[taker.peer].rows == 0


async def test_the_loss_that_a_trainer_measures_is_kept_and_shared_among_those_who_were_merged(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        one, other = (swarm.peer(name, {"w": np.zeros(4, np.float32)}, wandering(seed)) for name, seed in (("a", 1), ("b", 2)))
        start(one, other)
        await trio.sleep(20)
        for number, loss in ((1, 2.0), (2, 1.0)):
            one.trainer.progress = attrs.evolve(
                one.trainer.progress, evaluation=Evaluation(number, one.trainer.progress.adoption, {"loss": loss, "accuracy": 0.5})
            )
            await trio.sleep(10)
        reported = [report.metrics for report in one.trainer.reports if report.metrics]
        assert reported == [{"loss": 2.0, "accuracy": 0.5}, {"loss": 1.0, "accuracy": 0.5}]
        newest, _ = one.history.reader.evaluations(16)
        assert newest.metrics == {"loss": 1.0, "accuracy": 0.5}
        given = given_to(one)[other.peer]
        assert given.evaluated > 3
        assert given.loss_change == pytest.approx(-0.5), "the own model has as much part in each merge"
