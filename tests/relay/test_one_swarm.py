"""Two groups that have no storage, no announcer or neither in common train as one swarm, through a peer that relays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from learnae.identity.envelopes import decode_envelope
from learnae.identity.swarms import SwarmIdentity, SwarmKey
from learnae.records import AnnouncementKind, Update

pytestmark = pytest.mark.virtual_time

Run = Callable[..., Any]


@pytest.mark.slow
@pytest.mark.parametrize("phase", [0.17, 0.0], ids=["one after the other", "all at once"])
async def test_all_peers_of_both_groups_merge_models_of_all_peers_of_the_other_group(a_world: Run, separation: str, phase: float) -> None:
    async with a_world() as world:
        groups = await world.start(separation, phase=phase)
        await trio.sleep(60)
        found = groups.merged_from_the_other_side()
    assert min(found) >= 12  # one in five rounds: the relay itself fetches two of four in each


async def test_without_the_relay_nothing_of_the_other_group_is_merged(a_world: Run, separation: str) -> None:
    async with a_world() as world:
        groups = await world.start(separation, relay={"relay": False})
        await trio.sleep(40)
        found = groups.merged_from_the_other_side()
    assert max(found) == 0


@pytest.mark.slow
async def test_groups_that_start_from_nothing_end_in_one_lineage(a_world: Run, separation: str) -> None:
    async with a_world() as world:
        groups = await world.start(separation, lineage=b"")
        await trio.sleep(60)
    assert len({peer.lineage for peer in groups.everybody}) == 1
    assert min(groups.merged_from_the_other_side()) > 0


@pytest.mark.slow
async def test_where_all_hear_of_an_update_before_it_can_be_had_few_tries_are_in_vain(a_world: Run) -> None:
    async with a_world() as world:
        groups = await world.start("one announcer")
        await trio.sleep(60)
        found = [sum(report.failed for report in peer.trainer.reports) for peer in (*groups.left, *groups.right)]
    assert max(found) <= 10  # of some hundred: of the two of the other side, the newest is tried after 2, 4, 8, 16 and 32 rounds


async def test_a_private_swarm_is_relayed_sealed_as_it_is(a_world: Run, tmp_path: Path) -> None:
    key = SwarmKey(bytes(32))
    (tmp_path / "key").write_text(key.text())
    (tmp_path / "key").chmod(0o600)

    async with a_world(swarm={"name": "birds", "key_file": str(tmp_path / "key")}) as world:
        groups = await world.start()
        await trio.sleep(40)
        said = world.said("right")
    assert min(groups.merged_from_the_other_side()) >= 6
    swarm, left = SwarmIdentity("birds", key), groups.left[0].peer
    opened = [(one.replaces, decode_envelope(one.message, swarm.id, swarm.messages).announcement) for one in said]
    keys = {replaces for replaces, announcement in opened if announcement.peer == left and isinstance(announcement.body, Update)}
    assert keys == {swarm.alias(f"{left}/{AnnouncementKind.UPDATE.value}")}
