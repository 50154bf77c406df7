"""An observer follows the swarm's model, and adds nothing to it: through the real node, in virtual time."""

from __future__ import annotations

import logging

import attrs
import numpy as np
import pytest
import trio
from structlog.testing import capture_logs

from learnae.link.messages import Evaluation
from learnae.plugins.memory import MemoryStore
from learnae.records import AnnouncementKind
from learnae.testing.swarm import Model, SimulatedPeer, SimulatedSwarm
from tests.support.simulated import events, merges, outages, outcomes, start, value, wandering

pytestmark = pytest.mark.virtual_time

OBSERVER = {"peer": {"role": "observer"}, "selector": {"use": "least-recently-tried", "count": 8}}


def idle(model: Model) -> int:
    return 0


def an_observer(swarm: SimulatedSwarm, name: str = "o", first: float = 1000.0, **settings: object) -> SimulatedPeer:
    """Its own model is far from everybody's: whatever of it counted would be seen."""
    return swarm.peer(name, {"w": np.full(4, first, np.float32)}, idle, settings=OBSERVER | settings)


def a_trainer(swarm: SimulatedSwarm, name: str, number: float) -> SimulatedPeer:
    """Always at this number, however it merges."""

    def train(model: Model) -> int:
        model["w"][:] = number
        return 1

    return swarm.peer(name, {"w": np.full(4, number, np.float32)}, train)


def published_by(peer: SimulatedPeer) -> set[str]:
    return {root for owner, root in peer.swarm.shared(MemoryStore).roots if owner == peer.peer}


async def test_its_model_is_the_mean_of_what_others_publish_and_nothing_of_its_own() -> None:
    async with SimulatedSwarm() as swarm:
        trainers = [a_trainer(swarm, name, number) for name, number in (("a", 1.0), ("b", 2.0), ("c", 6.0))]
        start(*trainers)
        await trio.sleep(20)
        observer = an_observer(swarm).start()
        await trio.sleep(40)
        assert observer.lineage == trainers[0].lineage != b""
        assert outcomes(observer)[0] == "joined" and "merged" in outcomes(observer)
        assert 1.0 <= value(observer) <= 6.0
        full = [report for report in observer.trainer.reports if report.merged == 3]
        assert full, "all three at once, now and then"


async def test_of_two_it_has_the_one_the_other_or_their_mean_and_never_a_part_of_its_own() -> None:
    async with SimulatedSwarm() as swarm:
        one, other = a_trainer(swarm, "a", 1.0), a_trainer(swarm, "b", 2.0)
        start(one, other)
        await trio.sleep(20)
        observer = an_observer(swarm, gate=[{"use": "sane"}]).start()
        seen = set()
        for _ in range(30):
            await trio.sleep(1)
            seen.add(round(value(observer), 1))  # the codec rounds too
        assert 1.5 in seen and seen <= {1000.0, 1.0, 1.5, 2.0}


async def test_it_publishes_nothing_and_nobody_counts_it() -> None:
    async with SimulatedSwarm() as swarm:
        trainer = a_trainer(swarm, "a", 1.0)
        observer = an_observer(swarm)
        start(trainer, observer)
        await trio.sleep(60)
        assert published_by(observer) == set()
        assert all(report.published is None for report in observer.trainer.reports)
        assert merges(observer) > 10
        assert all(report.heard == 0 for report in trainer.trainer.reports)
        assert trainer.history.reader.contributions() == []


async def test_alone_it_founds_no_lineage_but_waits_and_says_so() -> None:
    async with SimulatedSwarm(level=logging.INFO) as swarm:
        with capture_logs() as logs:
            observer = an_observer(swarm).start()
            await trio.sleep(60)
            assert observer.lineage == b"" and published_by(observer) == set()
            assert outages(logs, "o") == [("outage", "hearing a peer that publishes")]
            trainer = a_trainer(swarm, "a", 1.0).start()
            await trio.sleep(30)
        assert observer.lineage == trainer.lineage != b""
        assert outages(logs, "o") == [("outage", "hearing a peer that publishes"), ("outage.over", "hearing a peer that publishes")]
        assert [line["own"] for line in events(logs, "lineage.founded")] == ["a"]


async def test_others_know_that_it_is_there_however_long_it_measures() -> None:
    """Its trainer is busy for a hundred seconds at a time."""
    async with SimulatedSwarm() as swarm:
        trainer = a_trainer(swarm, "a", 1.0).start()
        observer = an_observer(swarm)
        observer.trainer.round_seconds = lambda: 100.0
        observer.start()
        for _ in range(4):
            await trio.sleep(60)
            assert trainer.node is not None
            said = trainer.node.receiver.inbox.get(observer.peer, AnnouncementKind.PRESENT)
            assert said is not None and said.announcement.body.role == "observer"
            assert trio.current_time() - said.heard_at <= 31


async def test_two_observers_do_not_take_each_other_for_a_swarm() -> None:
    async with SimulatedSwarm() as swarm:
        observers = [an_observer(swarm, name) for name in ("o", "p")]
        start(*observers)
        await trio.sleep(60)
        assert [peer.lineage for peer in observers] == [b"", b""]


async def test_it_goes_on_after_its_node_was_killed() -> None:
    async with SimulatedSwarm() as swarm:
        trainer = swarm.peer("a", {"w": np.zeros(4, np.float32)}, wandering(1)).start()
        observer = an_observer(swarm).start()
        await trio.sleep(20)
        observer.kill_node()
        await trio.sleep(5)
        observer.start_node()
        before = merges(observer)
        await trio.sleep(20)
        assert merges(observer) > before + 5
        assert abs(value(observer) - value(trainer)) < 10


async def test_all_of_a_change_of_its_test_loss_is_that_of_those_who_were_merged() -> None:
    async with SimulatedSwarm() as swarm:
        trainer, observer = a_trainer(swarm, "a", 1.0), an_observer(swarm)
        start(trainer, observer)
        await trio.sleep(20)
        for number, loss in ((1, 2.0), (2, 1.0)):
            now = observer.trainer.progress
            observer.trainer.progress = attrs.evolve(now, evaluation=Evaluation(number, now.adoption, {"loss": loss}))
            await trio.sleep(10)
        (given,) = observer.history.reader.contributions()
        assert given.peer == trainer.peer
        assert given.given.loss_change == pytest.approx(-1.0)
