"""What a relay says where: each message once, as it came, and nothing that nobody says just now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import trio

from learnae.records import PeerId, Present, Update
from learnae.testing.faults import Fault

Run = Callable[..., Any]
NOISE = bytes(200)


def test_two_relays_say_each_message_once_on_each_medium_at_most(run: Run, separation: str) -> None:
    async def main(world: Any) -> Any:
        groups = await world.start(separation, relays=2)
        await trio.sleep(40)
        return groups, [Counter((said.sender, said.message) for said in world.said(side)) for side in ("left", "right")]

    groups, said = run(main)
    assert min(groups.merged_from_the_other_side()) > 0
    assert {times for counts in said for times in counts.values()} == {1}


def test_a_single_relay_sends_nothing_back_to_where_it_came_from(run: Run) -> None:
    async def main(world: Any) -> Any:
        groups = await world.start()
        await trio.sleep(20)
        relayed = {said.announcement.peer for said in world.said("left") if said.sender == groups.relays[0].peer}
        return relayed, {peer.peer for peer in (*groups.right, *groups.relays)}

    relayed, elsewhere = run(main)
    assert relayed == elsewhere


def test_presence_and_goodbyes_are_passed_on(run: Run) -> None:
    async def main(world: Any) -> list[str]:
        groups = await world.start()
        await trio.sleep(35)
        leaving = groups.left[0]
        leaving.trainer.disconnect()
        await trio.sleep(3)
        heard = [said.announcement for said in world.said("right")]
        return [type(announcement.body).__name__ for announcement in heard if announcement.peer == leaving.peer]

    kinds = run(main)
    assert set(kinds) == {"Update", "Present", "Leaving"}
    assert kinds[-1] == "Leaving"


def test_neither_backlog_nor_garbage_nor_replays_are_passed_on(run: Run) -> None:
    async def main(world: Any) -> Any:
        speaker = world.peer("left", 1.0, ("left",), ("left",))
        speaker.start()
        await trio.sleep(5.5)
        old = list(world.said("left"))
        relay = world.peer("relay", 2.0, ("left", "right"), ("left", "right"), relay=True)
        relay.start()
        await trio.sleep(5)
        speaker.kill()
        for replaces, message in [*((said.replaces, said.message) for said in old), (b"noise", NOISE)] * 2:
            world.medium("left").send(speaker.peer, (relay.node.strategies.swarm.channel, replaces), message)
        await trio.sleep(5)
        return {said.message for said in old}, [said.message for said in world.said("right")], relay.peer

    old, said, _ = run(main)
    assert len(said) > 10
    assert not old & set(said)
    assert NOISE not in said


def test_a_denied_peer_is_not_passed_on(run: Run) -> None:
    async def main(world: Any) -> Any:
        unwanted = world.peer("unwanted", 1.0, ("left",), ("left",))
        groups = await world.start(relay={"deny": [unwanted.peer]})
        unwanted.start()
        await trio.sleep(15)
        passed: set[PeerId] = {said.announcement.peer for said in world.said("right")}
        return passed, {peer.peer for peer in groups.everybody}

    passed, others = run(main)
    assert passed == others


def test_an_update_is_not_announced_where_it_could_not_be_put(run: Run) -> None:
    async def main(world: Any) -> Any:
        groups = await world.start()
        world.plans[groups.relays[0].peer] = lambda method, call: Fault.BEFORE if method == "put" else None
        await trio.sleep(1)
        before = len(world.said("right"))
        await trio.sleep(31)
        left = {peer.peer for peer in groups.left}
        return {type(said.announcement.body) for said in world.said("right")[before:] if said.announcement.peer in left}

    kinds = run(main)
    assert Update not in kinds
    assert Present in kinds
