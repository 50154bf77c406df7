"""A person's word to a running node: go to that lineage, hear that peer no more."""

from __future__ import annotations

import pytest
import trio
from structlog.testing import capture_logs

from tests.support.simulated import events, outcomes, start, value

pytestmark = pytest.mark.virtual_time

OURS, THEIRS = b"lineage1", b"lineage2"


async def split(world, **options):
    both = world.two(1.0, 5.0, lineages=(OURS, THEIRS), **options)
    await trio.sleep(5)
    return both


async def test_an_established_peer_goes_to_the_named_lineage_and_stays_there(a_world):
    with capture_logs() as logs:
        async with a_world() as world:
            a, b = await split(world)
            a.history.orders.order_rejoin(THEIRS)
            await trio.sleep(40)
    assert a.lineage == b.lineage == THEIRS
    assert value(a) == 5.0
    assert outcomes(a).count("rejoined") == 1
    assert a.history.orders.last_rejoin().outcome == f"went over to lineage {THEIRS.hex()}"
    [line] = events(logs, "lineage.rejoined")
    assert (line["log_level"], OURS.hex() in line["consequence"]) == ("warning", True)


async def test_without_a_name_it_goes_to_the_best_of_the_others_once(a_world):
    async with a_world() as world:
        a, _ = await split(world)
        world.peer("c", 9.0, lineage=b"lineage3").start()
        await trio.sleep(3)
        a.history.orders.order_rejoin(None)
        await trio.sleep(40)
    assert a.lineage == THEIRS  # of the others the smaller hash; and it does not go back


async def test_an_order_outweighs_yielding(a_world):
    async with a_world() as world:
        a, _ = await split(world, settings={"join": {"on_split": "yield"}})
        a.history.orders.order_rejoin(THEIRS)
        await trio.sleep(10)
        world.peer("c", 1.0, lineage=OURS).start()
        await trio.sleep(40)
    assert a.lineage == THEIRS


async def test_an_order_waits_for_a_lineage_that_comes_a_little_later(a_world):
    async with a_world() as world:
        a = world.peer("a", 1.0, lineage=OURS).start()
        a.history.orders.order_rejoin(THEIRS)
        await trio.sleep(6)
        world.peer("b", 5.0, lineage=THEIRS).start()
        await trio.sleep(6)
    assert a.lineage == THEIRS


async def test_an_order_to_a_lineage_that_nobody_knows_is_given_up_and_said(a_world):
    with capture_logs() as logs:
        async with a_world() as world:
            a, _ = await split(world)
            a.history.orders.order_rejoin(b"nowhere!")
            await trio.sleep(30)
    assert a.lineage == OURS
    [line] = events(logs, "rejoin.given_up")
    assert "it is not heard" in line["cause"]
    assert a.history.orders.take_rejoin() is None


async def test_an_order_to_a_lineage_of_strangers_is_given_up_where_trust_forbids_it(a_world):
    with capture_logs() as logs:
        async with a_world() as world:
            a, _ = await split(world, settings={"join": {"trust": ["f" * 64]}})
            a.history.orders.order_rejoin(THEIRS)
            await trio.sleep(30)
    assert a.lineage == OURS
    assert ["join.trust" in line["cause"] for line in logs if line["event"] == "rejoin.given_up"] == [True]


async def test_a_peer_that_is_denied_while_running_is_not_merged_any_more_until_it_is_allowed_again(a_world):
    async with a_world() as world:
        a, b = world.two()
        await trio.sleep(5)
        merged = [a.trainer.reports[-1].merged]
        a.history.orders.deny(b.peer)
        await trio.sleep(5)
        denied = a.trainer.reports[-3:]
        merged += [sum(report.merged + report.heard + report.chosen for report in denied)]
        a.history.orders.allow_again(b.peer)
        await trio.sleep(5)
        merged, counts = [*merged, a.trainer.reports[-1].merged], a.history.counts()
    assert merged == [1, 0, 1]
    assert counts["denied"] >= 3


async def test_a_liar_that_lured_a_peer_away_is_denied_and_left(a_world):
    async with a_world() as world:
        liar, friend = world.peer("liar", -9.0, lineage=b"\0" * 8), world.peer("friend", 1.0, lineage=OURS)
        a = world.peer("a", 1.0, lineage=OURS, settings={"join": {"on_split": "yield"}})
        start(liar, a)
        await trio.sleep(40)
        friend.start()
        await trio.sleep(3)
        lured = a.lineage
        a.history.orders.deny(liar.peer)
        a.history.orders.order_rejoin(None)
        await trio.sleep(30)
    assert lured == b"\0" * 8
    assert a.lineage == OURS
