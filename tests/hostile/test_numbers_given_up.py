"""A number is taken before the model is stored; what comes under the own key meanwhile tells whether it may still be sent."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from learnae.identity.envelopes import encode_envelope
from learnae.identity.swarms import channel, swarm_id
from learnae.node.receive import SequenceNumbers
from learnae.plugins.memory import MemoryStorage
from learnae.records import Announcement, AnnouncementKind

pytestmark = pytest.mark.virtual_time

SWARM = swarm_id("default")


class Slow(MemoryStorage):
    async def put(self, *args: Any) -> None:
        await trio.sleep(0.5)
        await super().put(*args)


async def taken_anew(numbers: SequenceNumbers) -> None:
    """A round has begun to publish: a number is taken, and its model is being stored."""
    before = numbers.used[AnnouncementKind.UPDATE]
    while numbers.used[AnnouncementKind.UPDATE] == before:  # noqa: ASYNC110
        await trio.sleep(0.01)


@pytest.mark.parametrize("above", [0, 1])
@pytest.mark.parametrize("twin", [False, True], ids=["an old one", "a second peer"])
async def test_an_old_message_that_comes_while_a_peer_stores_its_model_makes_nobody_refuse_it(a_world: Any, above: int, twin: bool) -> None:
    """Bob has heard the old one too: another under the same number would be refused for good."""

    async with a_world(strategies={"storage": {"slow": Slow}}, storage={"use": "slow"}) as world:
        alice, bob = world.honest(2)
        await trio.sleep(3)
        stranger, numbers = world.stranger(), alice.node.receiver.numbers
        body = stranger.update(stranger.pack().root)
        given_up = []
        for shown in range(2 if twin else 1):
            await taken_anew(numbers)
            given_up.append(numbers.used[AnnouncementKind.UPDATE])
            message = encode_envelope(
                alice.identity, Announcement(swarm=SWARM, peer=alice.peer, number=numbers.used[AnnouncementKind.UPDATE] + above, body=body)
            )
            world.swarm.medium.send("mallory", (channel(SWARM), bytes([shown])), message)
            await trio.sleep(0.05)
            assert numbers.used[AnnouncementKind.UPDATE] > 1 << 32
            assert numbers.elsewhere is bool(shown)
        await trio.sleep(90 if twin else 10)
    assert "equivocation" not in bob.history.counts()
    assert any(v.merged for report in bob.trainer.reports[-5:] for v in report.verdicts if v.peer == alice.peer)
    assert not {item.number for item in alice.history.published()} & set(given_up)
    unlike = [report.published for report in alice.trainer.reports if report.published is None]
    assert bool(unlike) is twin
