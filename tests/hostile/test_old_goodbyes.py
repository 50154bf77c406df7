"""Whoever has kept a goodbye may show it again when its peer has come back: its number tells that it is old."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from learnae.records import AnnouncementKind, Leaving

pytestmark = pytest.mark.virtual_time


async def test_a_goodbye_is_above_all_that_was_said_before_it_and_below_what_the_next_run_says(a_world: Any) -> None:
    async with a_world() as world:
        listener, other = world.honest(2)
        numbers = []
        for _ in range(2):
            await trio.sleep(10)
            said = listener.node.receiver.inbox
            numbers.append(max(mark.number for (peer, kind), mark in said.marks.items() if peer == other.peer))
            await other.node.publisher.announce(Leaving())
            await trio.sleep(0.5)
            numbers.append(said.marks[other.peer, AnnouncementKind.LEAVING].number)
            other.kill_node()
            other.start_node()
    assert numbers == sorted(set(numbers))
