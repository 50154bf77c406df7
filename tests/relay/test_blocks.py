"""What a relay puts where, how long it keeps it, and what becomes of the groups and of itself when that does not work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from learnae.testing.faults import Fault
from learnae.testing.swarm import SimulatedPeer

Run = Callable[..., Any]


@pytest.mark.parametrize(("fetch_seconds", "most"), [(0.1, 6), (30.0, 14)])
def test_of_each_peer_the_newest_few_are_kept_and_no_more(run: Run, fetch_seconds: float, most: int) -> None:
    async def main(world: Any) -> tuple[int, int]:
        groups = await world.start()
        await trio.sleep(60)
        return len(world.carried(groups.relays[0], "left")), len(world.carried(groups.relays[0], "right"))

    left, right = run(main, node={"fetch_seconds": fetch_seconds})
    assert 4 <= left <= most
    assert 4 <= right <= most


def test_the_quota_counts_own_and_carried_updates_together(run: Run) -> None:
    sizes: list[int] = []

    async def main(world: Any) -> None:
        groups = await world.start(relay={"quota_bytes": 2000})
        for _ in range(40):
            await trio.sleep(1)
            stored = {**world.store("left").roots, **world.store("right").roots}
            blocks = world.store("left").blocks | world.store("right").blocks
            mine = [cids for (peer, _), cids in stored.items() if peer == groups.relays[0].peer]
            sizes.append(sum(len(blocks[cid]) for cids in mine for cid in cids))

    run(main)
    assert 1000 < max(sizes) <= 2000 + 500  # the newest own update, before older ones give way


def test_without_room_nothing_is_carried_and_that_is_told_once(run: Run) -> None:
    async def main(world: Any) -> tuple[set[Any], int]:
        groups = await world.start(relay={"quota_bytes": 600})
        await trio.sleep(20)
        return world.carried(groups.relays[0], "right"), len(groups.relays[0].trainer.reports)

    with capture_logs() as logs:
        roots, rounds = run(main)
    assert roots == set()
    assert rounds >= 18
    [line] = [line for line in logs if line["event"].startswith("outage")]
    assert (line["what"], "quota_bytes" in line["cause"]) == ("relaying", True)


def test_tidying_drops_what_an_earlier_run_has_carried_and_not_what_this_one_has(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learnae.node.retention.AGAIN_SECONDS", 5.0)

    async def main(world: Any) -> tuple[set[Any], set[Any], set[Any]]:
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
        return before, kept, world.carried(relay, "right")

    before, kept, after = run(main)
    assert before
    assert kept & before
    assert after == set()


# -- bad luck --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.HALFWAY])
def test_a_medium_that_fails_at_the_relay_is_one_outage_and_holds_no_round_up(run: Run, fault: Fault) -> None:
    async def main(world: Any) -> int:
        (relay,) = (await world.start()).relays
        await trio.sleep(10)
        own = relay.history.published()[0].number
        world.plans[relay.peer] = lambda method, call: fault if method == "put" else None
        await trio.sleep(20)
        return relay.history.published()[0].number - own

    with capture_logs() as logs:
        rounds = run(main)
    lines = [line for line in logs if line["event"].startswith("outage") and line["own"] == "relay-0"]
    assert [line["what"] for line in lines] == ["putting blocks by storage right"]
    assert rounds >= 18


def hangs_while_something_is_carried(method: str, call: int) -> Fault | None:
    return Fault.SILENCE if method == "put" and "blockrelay" in trio.lowlevel.current_task().name.lower() else None


def test_a_put_of_what_is_carried_that_hangs_holds_no_round_up(run: Run) -> None:
    async def main(world: Any) -> SimulatedPeer:
        (relay,) = (await world.start()).relays
        world.plans[relay.peer] = hangs_while_something_is_carried
        await trio.sleep(90)
        return relay

    with capture_logs() as logs:
        relay = run(main)
    lines = [line for line in logs if line["event"].startswith("outage") and line["own"] == "relay-0"]
    assert [line["what"] for line in lines] == ["putting blocks by storage right"]
    assert len(relay.trainer.reports) >= 88
    assert max(report.seconds for report in relay.trainer.reports[3:]) < 1


def test_after_an_outage_of_one_medium_the_groups_merge_again(run: Run) -> None:
    async def main(world: Any) -> tuple[list[int], list[int], list[int]]:
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
        return down, still, groups.merged_from_the_other_side()

    down, still, after = run(main)
    assert down == still
    assert min(b - a for a, b in zip(still, after, strict=True)) >= 4
