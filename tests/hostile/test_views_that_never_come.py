"""Views of contributions that strangers name and nobody has: an order to fetch the views of others ends soon all the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import trio

from learnae.content.cids import dag_cid
from learnae.node import view_exchange
from learnae.node.view_exchange import LONGEST_ASKING
from learnae.records import Present
from tests.support.hostile.missing_blocks import Silent, Trapped

pytestmark = pytest.mark.virtual_time

FETCH_SECONDS = 10.0
TRAPPED: Any = {"strategies": {"storage": {"trapped": Trapped}}, "storage": {"use": "trapped"}}


def train(model: dict[str, Any]) -> int:
    model["w"] += 1.0
    return 1


def trainer(world: Any, name: str, **peer: Any) -> Any:
    settings = {"peer": peer} if peer else {}
    return world.swarm.peer(name, {"w": np.zeros(64, np.float32)}, train, round_seconds=lambda: 1.0, settings=settings).start()


async def test_views_that_never_come_hold_an_order_up_for_little_and_hide_no_view_of_an_accepted_peer(
    a_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_exchange, "FIRST_SECONDS", 5.0)
    async with a_world(**TRAPPED, node={"fetch_seconds": FETCH_SECONDS}) as world:
        asking, honest = trainer(world, "a"), trainer(world, "b", share_contributions=True)
        await trio.sleep(30)
        for number in range(60):
            stranger, root = world.stranger(), dag_cid(f"{number}".encode())
            world.swarm.shared(Silent).add(root)
            stranger.say(Present({}, "trainer", contributions=root))
        await trio.sleep(1)
        asking.history.orders.ask_views()
        await trio.sleep((LONGEST_ASKING + 1) * FETCH_SECONDS)
        order = asking.history.orders.last_ask()
        assert order is not None and order.outcome
        assert [view.peer for view in asking.history.reader.views()] == [honest.peer]
