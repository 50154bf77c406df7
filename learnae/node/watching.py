"""Watchers' hooks, called one after another beside the rounds, each with a time limit; the rounds never wait for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

from learnae.plugins.hooks import Hook
from learnae.records import PeerId, RoundReport
from learnae.strategies import RunInThread

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from learnae.plugins.manager import PluginManager

LIMIT_SECONDS = 5.0
WAITING = 256


@attrs.define
class Watching:
    """What watchers have not seen yet waits here; when too much waits, the newest is dropped. Both are said once, until it is over."""

    manager: PluginManager
    in_thread: RunInThread
    log: FilteringBoundLogger
    _behind: bool = False
    _running: set[int] = attrs.field(factory=set)  # watchers that were cut off, and whose threads have not ended
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
        """Until cancelled."""
        async for hook, arguments in self._channel[1]:
            self._behind = self._behind and self._channel[1].statistics().current_buffer_used > 0
            for watcher in self.manager.watchers(hook):
                await self._tell(watcher, arguments)

    async def _tell(self, watcher: Hook, arguments: dict[str, Any]) -> None:
        """One that is still busy with what it was cut off from is left out, so that it takes no more than one thread."""
        if id(watcher) in self._running:
            return
        with trio.move_on_after(LIMIT_SECONDS) as limit:
            await self.in_thread(self._run, watcher, arguments)
        if limit.cancelled_caught:
            self.log.warning("watcher.slow", plugin=watcher.plugin.name, hook=watcher.name, limit_seconds=LIMIT_SECONDS)

    def _run(self, watcher: Hook, arguments: dict[str, Any]) -> None:
        self._running.add(id(watcher))
        try:
            self.manager.notify_one(watcher, **arguments)
        finally:
            self._running.discard(id(watcher))

    def _queue(self, hook: str, **arguments: Any) -> None:
        try:
            self._channel[0].send_nowait((hook, arguments))
        except trio.WouldBlock:
            if not self._behind:
                self.log.warning("watcher.behind", hook=hook, waiting=WAITING)
            self._behind = True
