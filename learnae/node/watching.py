"""Watchers' hooks, called one after another beside the rounds, each with a time limit; the rounds never wait for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

from learnae.records import PeerId, RoundReport
from learnae.strategies import RunInThread

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from learnae.plugins.manager import PluginManager

LIMIT_SECONDS = 5.0
WAITING = 256


@attrs.define
class Watching:
    """What watchers have not seen yet waits here; when too much waits, the newest is dropped and said."""

    manager: PluginManager
    in_thread: RunInThread
    log: FilteringBoundLogger
    _channel: tuple[trio.MemorySendChannel[Any], trio.MemoryReceiveChannel[Any]] = attrs.field(
        factory=lambda: trio.open_memory_channel(WAITING)
    )

    def round_finished(self, report: RoundReport) -> None:
        for verdict in report.verdicts:
            self._queue("learnae_update_judged", verdict=verdict)
        self._queue("learnae_round_finished", report=report)

    def peer_changed(self, peer: PeerId, state: str) -> None:
        self._queue("learnae_peer_changed", peer=peer, state=state)

    async def run(self) -> None:
        async for hook, arguments in self._channel[1]:
            with trio.move_on_after(LIMIT_SECONDS) as limit:
                await self.in_thread(self._notify, hook, arguments)
            if limit.cancelled_caught:
                self.log.warning("watcher.slow", hook=hook, limit_seconds=LIMIT_SECONDS)

    def _notify(self, hook: str, arguments: dict[str, Any]) -> None:
        self.manager.notify(hook, **arguments)

    def _queue(self, hook: str, **arguments: Any) -> None:
        try:
            self._channel[0].send_nowait((hook, arguments))
        except trio.WouldBlock:
            self.log.warning("watcher.behind", hook=hook)
