"""Peers whose storage and announcer have plain methods, under virtual time."""

from __future__ import annotations

import numpy as np
import trio

from tests.support.blocking import BoardAnnouncer, FolderStorage
from tests.support.simulated import LINEAGE


class SlowBoardAnnouncer(BoardAnnouncer):
    look_seconds = 0.1


SETTINGS = {"storage": {"use": "folder"}, "announcer": {"use": "board"}}


async def two(world):
    peers = [world.peer(name, value, lineage=LINEAGE, settings=SETTINGS).start() for name, value in (("a", 0.0), ("b", 8.0))]
    await trio.sleep(15)
    return [(float(np.mean(peer.trainer.model["w"])), [report.merged for report in peer.trainer.reports]) for peer in peers]


def test_two_peers_merge_through_plain_methods_and_do_the_same_in_each_run(run_world, tmp_path):
    def outcome(number: int):
        storage = type("Here", (FolderStorage,), {"folder": tmp_path / str(number)})
        return run_world(two, strategies={"storage": {"folder": storage}, "announcer": {"board": SlowBoardAnnouncer}})

    first = outcome(1)
    assert all(sum(merged) > 2 for _, merged in first)
    assert outcome(2) == first
