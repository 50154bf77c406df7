"""Hints: where a peer says that its storage can be reached. Nobody else's storage is asked there."""

from __future__ import annotations

from typing import Any

import attrs
import cbor2
import pytest
import trio

from learnae.records import Present
from tests.support.hostile.announcements import HEAD_BYTES

pytestmark = pytest.mark.virtual_time


@attrs.frozen
class Asked:
    """The hints that a storage was given."""

    hints: list[tuple[str, ...]] = attrs.field(factory=list)


@pytest.fixture
def spying(monkeypatch) -> Asked:
    from learnae.plugins.memory import MemoryStorage

    asked, get = Asked(), MemoryStorage.get

    async def spy(self: Any, cids: Any, deliver: Any, *, hints: Any = ()) -> None:
        asked.hints.append(tuple(hints))
        await get(self, cids, deliver, hints=hints)

    monkeypatch.setattr(MemoryStorage, "get", spy)
    return asked


async def test_a_storage_is_given_only_hints_of_its_own_kind_from_the_peer_that_is_fetched(a_world, spying):
    mine = tuple(f"/ip4/10.0.0.{number}/tcp/22/" + "x" * 70 for number in range(8))

    async with a_world() as world:
        world.honest(1)
        stranger, other = world.stranger(), world.stranger()
        await trio.sleep(0.5)
        stranger.say(Present({"memory": mine}))
        other.say(Present({"memory": ("of the other",), "file": ("/etc/passwd",), "": ("anywhere",)}))
        stranger.say(stranger.update(stranger.store(stranger.pack()).root))
        await trio.sleep(5)
    assert set(spying.hints) == {mine}


@pytest.mark.parametrize(
    "hints",
    [{"memory": ["x"] * 9}, {"memory": ["x" * 201]}, {str(n): [] for n in range(9)}, {"memory": "x"}, {"memory": ["\x1b]0;"]}, {1: ["x"]}],
    ids=["nine", "long", "nine storages", "no list", "for the terminal", "no name"],
)
async def test_hints_beyond_their_bounds_are_refused(a_world, hints):
    async with a_world() as world:
        [peer], stranger = world.honest(1), world.stranger()
        await trio.sleep(0.5)
        message = stranger.say(Present({"memory": ("x",)}))
        stranger.say_payload(cbor2.dumps({**cbor2.loads(message[HEAD_BYTES:]), 2: 2, 8: hints}, canonical=True))
        await trio.sleep(3)
        found = peer.history.counts()
    assert found == {"malformed": 1}
