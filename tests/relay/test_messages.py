"""What a relay says where: each message once, as it came, and nothing that nobody says just now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import trio

from learnae.records import PeerId, Present, Update
from learnae.testing.faults import Fault

pytestmark = pytest.mark.virtual_time

Run = Callable[..., Any]
NOISE = bytes(200)


async def test_two_relays_say_each_message_once_on_each_medium_at_most(a_world: Run, separation: str) -> None:
    async with a_world() as world:
        groups = await world.start(separation, relays=2)
        await trio.sleep(40)
        said = [Counter((said.sender, said.message) for said in world.said(side)) for side in ("left", "right")]
    assert min(groups.merged_from_the_other_side()) > 0
    assert {times for counts in said for times in counts.values()} == {1}


async def test_a_single_relay_sends_nothing_back_to_where_it_came_from(a_world: Run) -> None:
    async with a_world() as world:
        groups = await world.start()
        await trio.sleep(20)
        relayed = {said.announcement.peer for said in world.said("left") if said.sender == groups.relays[0].peer}
        elsewhere = {peer.peer for peer in (*groups.right, *groups.relays)}
    assert relayed == elsewhere


async def test_presence_and_goodbyes_are_passed_on(a_world: Run) -> None:
    async with a_world() as world:
        groups = await world.start()
        await trio.sleep(35)
        leaving = groups.left[0]
        leaving.trainer.disconnect()
        await trio.sleep(3)
        heard = [said.announcement for said in world.said("right")]
        kinds = [type(announcement.body).__name__ for announcement in heard if announcement.peer == leaving.peer]
    assert set(kinds) == {"Update", "Present", "Leaving"}
    assert kinds[-1] == "Leaving"


async def test_neither_backlog_nor_garbage_nor_replays_are_passed_on(a_world: Run) -> None:
    """The newest of each kind is no replay: if it comes live, the medium may have been wrong before (docs/decisions/0050)."""
    async with a_world() as world:
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
        newest = {said.announcement.kind: said.message for said in old}
        old, said = {said.message for said in old} - {*newest.values()}, [said.message for said in world.said("right")]
    assert len(said) > 10
    assert old and not old & set(said)
    assert NOISE not in said


async def test_a_denied_peer_is_not_passed_on(a_world: Run) -> None:
    async with a_world() as world:
        unwanted = world.peer("unwanted", 1.0, ("left",), ("left",))
        groups = await world.start(relay={"deny": [unwanted.peer]})
        unwanted.start()
        await trio.sleep(15)
        passed: set[PeerId] = {said.announcement.peer for said in world.said("right")}
        others = {peer.peer for peer in groups.everybody}
    assert passed == others


async def test_an_update_is_not_announced_where_it_could_not_be_put(a_world: Run) -> None:
    async with a_world() as world:
        groups = await world.start()
        world.plans[groups.relays[0].peer] = lambda method, call: Fault.BEFORE if method == "put" else None
        await trio.sleep(1)
        before = len(world.said("right"))
        await trio.sleep(31)
        left = {peer.peer for peer in groups.left}
        kinds = {type(said.announcement.body) for said in world.said("right")[before:] if said.announcement.peer in left}
    assert Update not in kinds
    assert Present in kinds
