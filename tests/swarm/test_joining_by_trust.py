"""Whose model a newcomer adopts when it says whom it trusts."""

from __future__ import annotations

import pytest
import trio
from structlog.testing import capture_logs

from learnae.testing.faults import Fault, always
from tests.support.simulated import events, start, value

pytestmark = pytest.mark.virtual_time

TRUSTED, FOREIGN = b"lineage9", b"lineage1"


def trusting(*peers) -> dict:
    return {"join": {"trust": [peer.peer for peer in peers]}}


async def test_a_newcomer_adopts_only_from_those_whom_it_trusts(a_world):
    with capture_logs() as logs:
        async with a_world() as world:
            alice, bob = world.peer("alice", 8.0, lineage=TRUSTED), world.peer("bob", 5.0, lineage=FOREIGN)
            newcomer = world.peer("newcomer", settings=trusting(alice))
            start(alice, bob, newcomer)
            await trio.sleep(6)
    assert (newcomer.lineage, value(newcomer)) == (TRUSTED, 8.0)
    assert events(logs, "join.trusts_anybody") == []


def test_in_one_lineage_too_the_model_comes_from_the_trusted_one(run_world):
    async def main(world):
        alice = world.peer("alice", 8.0, lineage=TRUSTED)
        liars = [world.peer(f"liar{i}", -100.0, lineage=TRUSTED) for i in range(5)]
        newcomer = world.peer("newcomer", settings=trusting(alice))
        start(alice, *liars, newcomer)
        await trio.sleep(6)
        return alice

    for seed in range(3):
        with capture_logs() as logs:
            alice = run_world(main, seed=seed)
        assert [line["peer"] for line in events(logs, "lineage.joined")] == [alice.peer[:8]]


async def test_who_waits_for_somebody_says_so_trains_alone_and_joins_when_that_peer_comes(a_world):
    with capture_logs() as logs:
        async with a_world() as world:
            alice, bob = world.peer("alice", 8.0, lineage=TRUSTED), world.peer("bob", 5.0, lineage=FOREIGN)
            newcomer = world.peer("newcomer", settings=trusting(alice))
            bob.start()
            await trio.sleep(3)
            newcomer.start()
            await trio.sleep(7)  # longer than wait_seconds, shorter than settle_seconds
            before = (newcomer.lineage, newcomer.trainer.progress.steps)
            alice.start()
            await trio.sleep(4)
            (lineage, steps) = before
    assert lineage == b""
    assert steps >= 6
    assert (newcomer.lineage, value(newcomer)) == (TRUSTED, 8.0)
    assert newcomer.trainer.adopted_outcomes[0] == "joined"
    told = [line for line in logs if line.get("what") == "hearing a peer of join.trust"]
    assert [line["event"] for line in told] == ["outage", "outage.over"]
    assert "1 others" in told[0]["cause"]


async def test_why_the_model_of_a_trusted_peer_was_not_adopted_can_be_asked_while_waiting(a_world):
    async with a_world() as world:
        alice = world.peer("alice", 8.0, lineage=TRUSTED)
        newcomer = world.peer("newcomer", settings=trusting(alice))
        world.weather.storage[newcomer.peer] = always(Fault.BEFORE, "get")
        alice.start()
        newcomer.start()
        await trio.sleep(5)
        found = newcomer.lineage, {(fate.merged, fate.stage) for fate in newcomer.history.reader.verdicts(peer=alice.peer)}
    assert found == (b"", {(False, "fetch")})


async def test_who_waited_in_vain_founds_and_still_moves_when_the_trusted_one_comes_however_late(a_world):
    async with a_world() as world:
        alice, bob = world.peer("alice", 8.0, lineage=TRUSTED), world.peer("bob", 5.0, lineage=FOREIGN)
        newcomer = world.peer("newcomer", settings=trusting(alice))
        bob.start()
        newcomer.start()
        await trio.sleep(60)
        before = newcomer.lineage
        newcomer.kill_node()  # and what its home says of it is enough to go on waiting
        newcomer.start_node()
        await trio.sleep(10)
        alice.start()
        await trio.sleep(6)
    assert before not in (b"", TRUSTED, FOREIGN)
    assert newcomer.lineage == TRUSTED
    assert "moved" in newcomer.trainer.adopted_outcomes
    assert FOREIGN not in {report.lineage for report in newcomer.trainer.reports}


def test_a_group_that_shares_one_list_starts_together(run_world):
    async def main(world):
        peers = [world.peer(f"p{i}", float(i)) for i in range(5)]
        for peer in peers:
            peer.settings = trusting(*peers[:2])
            peer.start()
        await trio.sleep(40)
        return {peer.lineage for peer in peers}

    for seed in range(3):
        found = run_world(main, seed=seed)
        assert len(found) == 1
        assert found != {b""}


async def test_two_that_trust_only_each_other_do_not_wait_for_ever(a_world):
    async with a_world() as world:
        alice, bob = world.peer("alice", 1.0), world.peer("bob", 2.0)
        alice.settings, bob.settings = trusting(bob), trusting(alice)
        alice.start()
        bob.start()
        await trio.sleep(40)
    assert alice.lineage == bob.lineage != b""


async def test_without_trust_it_is_said_once_that_anybodys_model_was_adopted(a_world):
    with capture_logs() as logs:
        async with a_world() as world:
            start(world.peer("bob", 5.0, lineage=FOREIGN), world.peer("newcomer"))
            await trio.sleep(20)
    [line] = events(logs, "join.trusts_anybody")
    assert "join.trust" in line["remedy"]
