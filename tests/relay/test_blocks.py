"""What a relay puts where, how long it keeps it, and what becomes of the groups and of itself when that does not work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from learnae.testing.faults import Fault

pytestmark = pytest.mark.virtual_time

Run = Callable[..., Any]


@pytest.mark.parametrize(("fetch_seconds", "most"), [(0.1, 6), (30.0, 14)])
async def test_of_each_peer_the_newest_few_are_kept_and_no_more(a_world: Run, fetch_seconds: float, most: int) -> None:
    async with a_world(node={"fetch_seconds": fetch_seconds}) as world:
        groups = await world.start()
        await trio.sleep(60)
        left, right = len(world.carried(groups.relays[0], "left")), len(world.carried(groups.relays[0], "right"))
    assert 4 <= left <= most
    assert 4 <= right <= most


async def test_the_quota_counts_own_and_carried_updates_together(a_world: Run) -> None:
    sizes: list[int] = []

    async with a_world() as world:
        groups = await world.start(relay={"quota_bytes": 2000})
        for _ in range(40):
            await trio.sleep(1)
            stored = {**world.store("left").roots, **world.store("right").roots}
            blocks = world.store("left").blocks | world.store("right").blocks
            mine = [cids for (peer, _), cids in stored.items() if peer == groups.relays[0].peer]
            sizes.append(sum(len(blocks[cid]) for cids in mine for cid in cids))
    assert 1000 < max(sizes) <= 2000 + 500  # the newest own update, before older ones give way


async def test_without_room_nothing_is_carried_and_that_is_told_once(a_world: Run) -> None:
    with capture_logs() as logs:
        async with a_world() as world:
            groups = await world.start(relay={"quota_bytes": 600})
            await trio.sleep(20)
            roots, rounds = world.carried(groups.relays[0], "right"), len(groups.relays[0].trainer.reports)
    assert roots == set()
    assert rounds >= 18
    [line] = [line for line in logs if line["event"].startswith("outage")]
    assert (line["what"], "quota_bytes" in line["cause"]) == ("relaying", True)


async def test_tidying_drops_what_an_earlier_run_has_carried_and_not_what_this_one_has(
    a_world: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learnae.node.retention.AGAIN_SECONDS", 5.0)

    async with a_world() as world:
        groups = await world.start()
        (relay,) = groups.relays
        await trio.sleep(20)
        before = world.carried(relay, "right")
        for peer in groups.left:
            peer.kill()
        await trio.sleep(12)  # tidied at least twice
        kept = world.carried(relay, "right")
        relay.kill_node()
        relay.start_node()
        await trio.sleep(3)
        after = world.carried(relay, "right")
    assert before
    assert kept & before
    assert after == set()


# -- bad luck --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.HALFWAY])
async def test_a_medium_that_fails_at_the_relay_is_one_outage_and_holds_no_round_up(a_world: Run, fault: Fault) -> None:
    with capture_logs() as logs:
        async with a_world() as world:
            (relay,) = (await world.start()).relays
            await trio.sleep(10)
            own = relay.history.published()[0].number
            world.plans[relay.peer] = lambda method, call: fault if method == "put" else None
            await trio.sleep(20)
            rounds = relay.history.published()[0].number - own
    lines = [line for line in logs if line["event"].startswith("outage") and line["own"] == "relay-0"]
    assert [line["what"] for line in lines] == ["putting blocks by storage right"]
    assert rounds >= 18


def hangs_while_something_is_carried(method: str, call: int) -> Fault | None:
    return Fault.SILENCE if method == "put" and "blockrelay" in trio.lowlevel.current_task().name.lower() else None


async def test_a_put_of_what_is_carried_that_hangs_holds_no_round_up(a_world: Run) -> None:
    with capture_logs() as logs:
        async with a_world() as world:
            (relay,) = (await world.start()).relays
            world.plans[relay.peer] = hangs_while_something_is_carried
            await trio.sleep(90)
    lines = [line for line in logs if line["event"].startswith("outage") and line["own"] == "relay-0"]
    assert [line["what"] for line in lines] == ["putting blocks by storage right"]
    assert len(relay.trainer.reports) >= 88
    assert max(report.seconds for report in relay.trainer.reports[3:]) < 1


async def test_after_an_outage_of_one_medium_the_groups_merge_again(a_world: Run) -> None:
    async with a_world() as world:
        groups = await world.start()
        plans, relay = world.plans, groups.relays[0].peer
        await trio.sleep(15)
        plans[relay] = lambda method, call: Fault.BEFORE
        await trio.sleep(10)
        down = groups.merged_from_the_other_side()
        await trio.sleep(10)
        still = groups.merged_from_the_other_side()
        del plans[relay]
        await trio.sleep(40)
        after = groups.merged_from_the_other_side()
    assert down == still
    assert min(b - a for a, b in zip(still, after, strict=True)) >= 4
