"""Two established lineages under one name: reported, and ended where the peers may yield."""

from __future__ import annotations

from random import Random

import attrs
import numpy as np
import pytest
import trio
from structlog.testing import capture_logs

from learnae.plugins.memory import MemoryMedium
from learnae.testing.faults import Fault, always
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm, run_in_virtual_time
from tests.support.simulated import events, outcomes, start

pytestmark = pytest.mark.virtual_time

SMALL, LARGE = b"lineage1", b"lineage2"
YIELD = {"join": {"on_split": "yield"}}


def member(swarm: SimulatedSwarm, index: int) -> SimulatedPeer:
    """Every second one of the side with the larger hash; a round takes it about one, two or three seconds."""
    side, chance, seconds = index % 2, Random(f"{swarm.seed}/{index}"), 1 + index % 3
    model = {"w": np.full(4, 10.0 * side, np.float32)}
    peer = swarm.peer(f"p{index}", model, lambda model: 1, round_seconds=lambda: seconds * chance.uniform(0.8, 1.2))
    peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=(SMALL, LARGE)[side])
    return peer


async def two_established_sides(seed: int, each: int, settings: dict) -> tuple[set[bytes], dict[str, list[str]]]:
    """Peers of very unequal pace, whose messages are late or lost."""
    medium = MemoryMedium(delay=lambda rng: rng.expovariate(1 / 0.3), loss=0.2)
    async with SimulatedSwarm(seed=seed, settings={**settings, "gate": {"use": "sane"}}, medium=medium) as swarm:
        peers = [member(swarm, index) for index in range(2 * each)]
        start(*peers)
        await trio.sleep(60)
        return {peer.lineage for peer in peers}, {peer.name: outcomes(peer) for peer in peers}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_ten_and_ten_that_yield_end_in_the_lineage_with_the_smaller_hash(seed):
    lineages, did = run_in_virtual_time(two_established_sides, seed, 10, YIELD, seed=seed)
    assert lineages == {SMALL}
    went = {name: seen.count("yielded") + seen.count("moved") for name, seen in did.items()}
    assert {name: times for name, times in went.items() if times} == {f"p{index}": 1 for index in range(1, 20, 2)}


def test_two_and_two_that_yield_end_in_the_lineage_with_the_smaller_hash():
    lineages, did = run_in_virtual_time(two_established_sides, 1, 2, YIELD, seed=1)
    assert lineages == {SMALL}
    assert "yielded" not in did["p0"] + did["p2"]
    for name in ("p1", "p3"):
        assert did[name].index("yielded") >= 9  # not at the first glimpse
        assert did[name].count("yielded") == 1


def test_with_report_everyone_stays_where_it_is():
    lineages, did = run_in_virtual_time(two_established_sides, 1, 2, {}, seed=1)
    assert lineages == {SMALL, LARGE}
    assert not any("yielded" in seen or "moved" in seen for seen in did.values())


async def test_yielding_is_said_loudly_and_what_it_costs(a_world):
    with capture_logs() as logs:
        async with a_world(**YIELD) as world:
            world.two(lineages=(SMALL, LARGE))
            await trio.sleep(30)
    [line] = events(logs, "lineage.yielded")
    assert line["log_level"] == "warning"
    assert LARGE.hex() in line["consequence"]


async def test_a_split_that_is_reported_names_what_ends_it(a_world):
    with capture_logs() as logs:
        async with a_world() as world:
            world.two(lineages=(SMALL, LARGE))
            await trio.sleep(5)
    causes = [line["cause"] for line in events(logs, "outage")]
    assert len(causes) == 2
    assert all("learnae rejoin" in cause and "on_split" in cause for cause in causes)


async def test_a_peer_that_is_gone_after_a_word_leads_nobody_away(a_world):
    """What it announced stays fresh for eight rounds, which is not long enough to yield."""

    async with a_world(**YIELD) as world:
        a, b = world.peer("a", lineage=SMALL), world.peer("b", lineage=LARGE)
        start(b, a)
        await trio.sleep(2.2)
        a.kill()
        await trio.sleep(30)
    assert b.lineage == LARGE
    assert any(report.splits for report in b.trainer.reports)


async def test_who_cannot_have_a_model_of_the_other_side_goes_on_in_its_own_and_tries_again_later(a_world):
    async with a_world(**YIELD) as world:
        _, b = world.two(1.0, 2.0, lineages=(SMALL, LARGE))
        world.weather.storage[b.peer] = always(Fault.BEFORE, "get")
        await trio.sleep(45)
        before = (b.lineage, sum(verdict.stage == "fetch" for report in b.trainer.reports for verdict in report.verdicts))
        del world.weather.storage[b.peer]
        await trio.sleep(20)
        (lineage, tries) = before
    assert lineage == LARGE
    assert 2 <= tries <= 5  # every ten rounds, not in each
    assert b.lineage == SMALL


async def test_who_yields_goes_only_to_those_whom_it_trusts(a_world):
    async with a_world() as world:
        liar, friend = world.peer("liar", -9.0, lineage=b"\0" * 8), world.peer("friend", 1.0, lineage=SMALL)
        b = world.peer("b", 2.0, lineage=LARGE, settings={"join": {"on_split": "yield", "trust": [friend.peer]}})
        start(liar, friend, b)
        await trio.sleep(40)
    assert b.lineage == SMALL


async def test_a_newcomer_to_a_split_swarm_goes_to_one_side_and_stays_there(a_world):
    async with a_world() as world:
        for index in range(4):
            world.peer(f"p{index}", lineage=(SMALL, LARGE)[index % 2]).start()
        await trio.sleep(3)  # who begins with the first of them hears nobody yet, and founds
        newcomer = world.peer("newcomer").start()
        await trio.sleep(40)
    assert newcomer.lineage == SMALL
    assert [outcome for outcome in newcomer.trainer.adopted_outcomes if outcome != "merged"] == ["joined"]
