"""The announcer passes the kit against a real tangle of two nodes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from learnae.testing.announcer_kit import AnnouncerConformance, OpenAnnouncer
from learnae_iota.announcer import IotaAnnouncer, IotaAnnouncerOptions

if TYPE_CHECKING:
    from learnae import Context


class TestIotaAnnouncer(AnnouncerConformance):
    max_messages_per_second = 20

    @pytest.fixture
    def announcer(self, shared_tangle: Any, learnae_contexts: Callable[[str], Context]) -> OpenAnnouncer:
        """The peers are at different nodes in turn."""
        urls = itertools.cycle(shared_tangle.urls)
        return lambda peer: IotaAnnouncer(IotaAnnouncerOptions(nodes=(next(urls),)), learnae_contexts(peer))
