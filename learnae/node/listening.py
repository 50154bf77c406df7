"""Listens by one announcer after each outage anew, and hands on what is a message."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import attrs
import trio

from learnae.errors import PluginError, UnavailableError
from learnae.node.runtime import Outages
from learnae.node.services import Messages, Services, back_off
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.records import Heard
from learnae.strategies import Announcer

STEADY_SECONDS = 15.0  # a medium that breaks again before this is still the same outage


@attrs.frozen
class MediumListener:
    """`hear` gets each message, and the announcer that has brought it."""

    services: Services
    channel: str
    outages: Outages
    hear: Callable[[ConfiguredStrategy[Announcer], Heard], None]

    async def run(self, announcer: ConfiguredStrategy[Announcer]) -> None:
        """Until cancelled. The pauses between outages grow until listening has worked for a while."""
        what, failing = f"listening by {announcer.label}", back_off()
        while True:
            await self.services.opened(announcer)
            steady = trio.current_time() + STEADY_SECONDS
            messages = Messages(partial(self.hear, announcer), announcer.plugin, what, self.outages, steady)
            try:
                with announcer.calling(what, within=math.inf):
                    await announcer.strategy.listen([self.channel], messages)
                    raise RuntimeError("listen() returned, though nobody had cancelled it")
            except (UnavailableError, PluginError) as error:
                self.outages.failed(what, str(error))
            finally:
                messages.end()
            if trio.current_time() >= steady:
                failing = back_off()
            await trio.sleep(next(failing))
