"""Keeps the repo of a daemon of one's own within its limit: what was dropped or fetched goes, what is pinned stays."""

from __future__ import annotations

import contextlib

import attrs
import trio

from learnae import Unavailable
from learnae_ipfs.daemon import Daemon
from learnae_ipfs.line import Line, Refused

LOOK_SECONDS = 20.0
FULL = 0.75  # of the limit: fetched blocks stay that long, so that others find them here too
REST_SECONDS = 600.0  # between two collections of what was dropped, while there is room


@attrs.define
class Collector:
    """`putting` is held while a put is under way, and `unpinning` while pins are away for a moment: what they hold would go too."""

    daemon: Daemon
    limit_bytes: int
    unpinning: trio.Lock
    putting: trio.Lock = attrs.field(factory=trio.Lock)
    dropped: bool = False

    async def run(self) -> None:
        """Until cancelled."""
        last = trio.current_time()
        while True:
            await trio.sleep(LOOK_SECONDS)
            with contextlib.suppress(Unavailable, Refused):  # no daemon to ask now: whoever needs it tells of that
                rested = trio.current_time() - last >= REST_SECONDS
                if (self.dropped and rested) or await self.daemon.call(_size) > FULL * self.limit_bytes:
                    await self.collect()
                    last = trio.current_time()

    async def collect(self) -> None:
        """Raises Unavailable, Refused."""
        async with self.putting, self.unpinning:
            self.dropped = False
            await self.daemon.call(_collect)


def _size(line: Line) -> int:
    return int(next(line.ask("repo/stat", data=None, headers=None, **{"size-only": "true"}))["RepoSize"])


def _collect(line: Line) -> None:
    list(line.ask("repo/gc", silent="true"))
