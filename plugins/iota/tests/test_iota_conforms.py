"""The announcer passes the kit against a real tangle of two nodes."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from learnae import Announcer
from learnae.testing.announcer_kit import AnnouncerConformance, OpenAnnouncer
from learnae_iota.announcer import IotaAnnouncer, IotaAnnouncerOptions
from learnae_iota.calls import broadcast
from learnae_iota.places import PURPOSE, Places, window_of
from tests.support.tangle import litter

if TYPE_CHECKING:
    from learnae import Context


class TestIotaAnnouncer(AnnouncerConformance):
    max_messages_per_second = 20

    @pytest.fixture
    def announcer(self, shared_tangle: Any, learnae_contexts: Callable[[str], Context]) -> OpenAnnouncer:
        """The peers are at different nodes in turn. Each test has a swarm of its own: on a tangle all messages stay."""
        self.urls, secret = shared_tangle.urls, secrets.token_bytes(32)
        turns = itertools.cycle(self.urls)

        def context(peer: str) -> Context:
            return attrs.evolve(learnae_contexts(peer), secret=lambda purpose: secret + purpose.encode())

        return lambda peer: at(next(turns), context(peer))

    async def keep(self, announcer: Announcer, message: bytes, channel: str = "c", replaces: bytes | None = None) -> None:
        """The medium shows it when all nodes do."""
        await self.send(announcer, message, channel, replaces)
        for url in self.urls:
            async with at(url, announcer.context) as other, self.listening(other, channel) as ear:
                await ear.hears(message)

    async def garbage(self, announcer: Announcer) -> None:
        assert isinstance(announcer, IotaAnnouncer)
        now = time.time()
        place = Places.of("c", announcer.context.secret(PURPOSE)).at(window_of(now))
        for transaction in islice(litter(place, int(now * 1000)), 8):
            await announcer._nodes.call(lambda line, transaction=transaction: broadcast(line, [transaction]))  # type: ignore[misc]


def at(url: str, context: Context) -> IotaAnnouncer:
    return IotaAnnouncer(IotaAnnouncerOptions(nodes=(url,)), context)
