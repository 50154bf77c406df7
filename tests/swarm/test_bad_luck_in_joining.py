"""Whose model a newcomer adopts when little of what it hears can be had, and what becomes of one that dies on the way."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import trio
from structlog.testing import capture_logs

from learnae.node.claims import OLDEST
from learnae.testing.faults import Fault, always
from tests.support.simulated import events, outcomes, start, value

pytestmark = pytest.mark.virtual_time

LINEAGE, OTHER = b"lineage1", b"lineage0"


async def leave_behind(world, name: str, what: float, lineage: bytes):
    """A peer that publishes once and is gone."""
    peer = world.peer(name, what, lineage=lineage).start()
    await trio.sleep(1.5)
    peer.kill()
    return peer


NOW = {"join": {"wait_seconds": 0.0}}


async def test_what_an_earlier_run_left_behind_is_adopted_and_said_loudly(a_world):
    with capture_logs() as logs:
        async with a_world(**NOW) as world:
            await leave_behind(world, "a", 8.0, LINEAGE)
            b = world.peer("b", 0.0).start()
            await trio.sleep(3)
    assert (b.lineage, value(b)) == (LINEAGE, 8.0)
    [line] = events(logs, "lineage.joined")
    assert (line["log_level"], line["left_behind_by_an_earlier_run"]) == ("warning", True)


async def test_what_the_own_home_holds_is_adopted_by_a_trainer_that_starts_anew(a_world):
    with capture_logs() as logs:
        async with a_world(**NOW) as world:
            a = await leave_behind(world, "a", 8.0, LINEAGE)
            world.swarm.medium.newest.clear()  # nobody says so any more: only the home knows
            a.replace_trainer(world.peer("a", 0.0).trainer)
            a.start()
            await trio.sleep(3)
    assert (a.lineage, value(a)) == (LINEAGE, 8.0)
    assert outcomes(a)[0] == "joined"
    assert [line["log_level"] for line in logs if line["event"] == "lineage.joined"] == ["warning"]


async def test_a_checkpoint_that_has_come_further_than_what_the_own_home_holds_is_not_replaced_by_it(a_world):
    """A run that ended while it founded its lineage: the checkpoint names none, and the first update lies in the home."""

    async with a_world(**NOW) as world:
        a = await leave_behind(world, "a", 8.0, LINEAGE)
        world.swarm.medium.newest.clear()
        a.replace_trainer(world.peer("a", 3.0).trainer)
        a.trainer.progress = attrs.evolve(a.trainer.progress, age=10_000)
        a.start()
        await trio.sleep(3)
    assert (outcomes(a)[0], value(a)) == ("founded", 3.0)


async def test_a_fresh_start_neither_adopts_the_own_past_nor_that_of_others(a_world):
    async with a_world(**NOW) as world:
        a = await leave_behind(world, "a", 8.0, LINEAGE)
        await leave_behind(world, "b", 9.0, LINEAGE)
        a.replace_trainer(world.peer("a", 0.0).trainer)
        a.settings = {"join": {"fresh": True, "wait_seconds": 0.0}}
        a.start()
        await trio.sleep(3)
    assert outcomes(a)[0] == "founded"
    assert a.lineage not in (LINEAGE, b"")
    assert value(a) == 0.0


async def test_a_fresh_start_still_joins_those_who_are_there(a_world):
    async with a_world() as world:
        world.peer("a", 8.0, lineage=LINEAGE).start()
        b = world.peer("b", 0.0, settings={"join": {"fresh": True}}).start()
        await trio.sleep(6)
    assert b.lineage == LINEAGE


async def test_only_the_named_lineage_is_joined(a_world):
    async with a_world() as world:
        a, c = world.peer("a", 8.0, lineage=LINEAGE), world.peer("c", 9.0, lineage=OTHER)
        b = world.peer("b", 0.0, settings={"join": {"lineage": LINEAGE.hex()}})
        start(a, b, c)
        await trio.sleep(6)
    assert b.lineage == LINEAGE


async def test_where_a_lineage_is_named_none_is_founded_however_late_its_peers_come(a_world):
    async with a_world() as world:
        b = world.peer("b", 0.0, settings={"join": {"lineage": LINEAGE.hex()}}).start()
        await trio.sleep(120)
        alone = outcomes(b), b.lineage
        world.peer("a", 8.0, lineage=LINEAGE).start()
        await trio.sleep(20)
    assert alone == ([], b"")
    assert (outcomes(b)[0], b.lineage) == ("joined", LINEAGE)


async def test_of_three_the_one_nearest_to_the_others_is_adopted(a_world):
    async with a_world(**NOW) as world:
        for name, what in (("a", 1.0), ("b", 100.0), ("c", 2.0)):
            await leave_behind(world, name, what, LINEAGE)
        d = world.peer("d", 0.0).start()
        await trio.sleep(1.5)
    assert value(d) == 2.0


@pytest.mark.parametrize("seed", range(3))
def test_a_model_that_is_not_finite_is_not_adopted_but_another_one_is(run_world, monkeypatch, seed):
    async def main(world):
        for name, what in (("a", np.nan), ("b", 5.0), ("c", np.nan)):
            await leave_behind(world, name, what, LINEAGE)
        d = world.peer("d", 0.0).start()
        await trio.sleep(2.5)
        return d

    async def is_sound(node, snapshot):
        return True

    monkeypatch.setattr("learnae.node.node.Node._is_sound", is_sound)  # else it would not even be published
    d = run_world(main, seed=seed, **NOW)
    assert (value(d), d.lineage) == (5.0, LINEAGE)


async def test_when_nothing_can_be_had_a_lineage_is_founded(a_world):
    async with a_world(**NOW) as world:
        await leave_behind(world, "a", 8.0, LINEAGE)
        world.store.blocks.clear()
        b = world.peer("b", 1.0).start()
        await trio.sleep(3)
    assert outcomes(b)[0] == "founded"
    assert [verdict.stage for verdict in b.trainer.reports[0].verdicts] == ["fetch"]


async def test_a_crowd_whose_models_cannot_be_had_keeps_a_newcomer_waiting_for_a_bounded_time(a_world):
    async with a_world(**NOW) as world:
        for number in range(40):
            await leave_behind(world, f"p{number}", 1.0, bytes([number]) * 8)
        b = world.peer("b", 0.0).start()
        world.weather.storage[b.peer] = always(Fault.SILENCE, "get")
        await trio.sleep(50)  # four times ten seconds
    assert outcomes(b)[0] == "founded"


async def test_a_provisional_peer_that_cannot_move_trains_on_and_moves_when_it_can(a_world):
    async with a_world() as world:
        a = world.peer("a", 8.0, lineage=LINEAGE)
        b = world.peer("b", 0.0, lineage=b"lineage2", settings={"join": {"settle_seconds": 300.0}})
        b.history.save_lineage_state(b"lineage2", 0, 0.0)
        world.weather.storage[b.peer] = always(Fault.SILENCE, "get")
        a.start()
        b.start()
        await trio.sleep(40)
        before = (b.lineage, len(b.trainer.reports))
        del world.weather.storage[b.peer]
        await trio.sleep(30)
        (before, rounds), after, seen = before, b.lineage, outcomes(b)
    assert (before, after) == (b"lineage2", LINEAGE)
    assert rounds >= 2
    assert "moved" in seen


@pytest.mark.parametrize("seconds", [0.0, 0.3])
async def test_a_node_killed_between_founding_and_adoption_goes_on_in_that_lineage(a_world, seconds):
    async with a_world(**NOW) as world:
        a = world.peer("a", 3.0, lag=lambda: 1000)  # its offer stays unanswered
        a.start()
        await trio.sleep(1.1 + seconds)
        a.kill_node()
        founded = a.history.published()[0].lineage
        a.trainer.lag = lambda: 0
        a.start_node()
        await trio.sleep(5)
    assert a.lineage == founded
    assert outcomes(a)[0] == "joined"


async def test_a_claimed_age_beyond_all_measure_is_adopted_as_one_that_can_be_counted_on(a_world):
    async with a_world() as world:
        a = world.peer("a", 8.0, lineage=LINEAGE)
        a.trainer.progress = attrs.evolve(a.trainer.progress, age=2**63 - 1000)
        a.start()
        b = world.peer("b", 0.0).start()
        await trio.sleep(20)
    assert b.lineage == LINEAGE
    assert OLDEST <= b.trainer.progress.age < OLDEST + 1000
    assert len(b.trainer.reports) > 10


def test_a_key_without_its_history_hears_out_what_it_once_said_before_it_speaks(run_world):
    """The home was lost, the key was not: nobody must take its first words for equivocation."""

    async def main(world):
        a, b = world.two()
        await trio.sleep(10)
        a.kill()
        again = world.peer("a", 0.0, lineage=LINEAGE)  # the same key, an empty history
        again.start()
        await trio.sleep(10)
        return b.node.receiver.refusals, again.history.own_numbers(), a.history.own_numbers(), b.history.counts()

    _, again, before, counts = run_world(main, seed=3)
    assert all(again[kind] > before[kind] for kind in before)
    assert "equivocation" not in counts


async def test_two_that_run_under_one_key_stop_publishing_and_say_so(a_world):
    with capture_logs() as logs:
        async with a_world() as world:
            a = world.peer("a", 0.0, lineage=LINEAGE).start()
            await trio.sleep(5)
            again = world.peer("a", 0.0, lineage=LINEAGE).start()
            await trio.sleep(20)
    assert [line["event"] for line in logs].count("identity.elsewhere") >= 1
    assert any(report.published is None for peer in (a, again) for report in peer.trainer.reports[-3:])
