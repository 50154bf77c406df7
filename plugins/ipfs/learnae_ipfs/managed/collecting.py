"""Keeps the repo of a daemon of one's own within its limit: what was dropped or fetched goes, what is pinned stays."""

from __future__ import annotations

import contextlib
import math
import shutil
from pathlib import Path

import attrs
import trio

from learnae import UnavailableError
from learnae.lowlevel import MEGABYTE
from learnae_ipfs.answers import ask
from learnae_ipfs.daemon import Daemon
from learnae_ipfs.line import KuboConnection, KuboRefusedError

LOOK_SECONDS = 20.0
FULL = 0.75  # of the limit: fetched blocks stay that long, so that others find them here too
GROWN = 1 / 16  # of the limit, since the last collection: what is left then is pinned, and collecting again would find nothing
SCARCE_BYTES = 512 * MEGABYTE  # free on the disk
REST_SECONDS = 600.0  # between two collections of what was dropped, while there is room
LEAVE_SECONDS = 1.0


@attrs.define
class Collector:
    """`putting` is held while a put is under way, and `unpinning` while pins are away for a moment: what they hold would go too."""

    daemon: Daemon
    folder: Path
    limit_bytes: int
    unpinning: trio.Lock
    putting: trio.Lock = attrs.field(factory=trio.Lock)
    dropped: bool = False
    _earlier: bool = True  # something may have been dropped in an earlier run
    _left: float = -math.inf  # bytes, after the last collection
    _last: float = -math.inf

    async def run(self) -> None:
        """Until cancelled."""
        self._last = trio.current_time()
        while True:
            await trio.sleep(LOOK_SECONDS)
            with contextlib.suppress(UnavailableError, KuboRefusedError, OSError):  # no daemon to ask now: whoever needs it tells of that
                await self.look()

    async def look(self) -> None:
        """Collect if it is time to. Raises UnavailableError, Refused, OSError."""
        rested = trio.current_time() - self._last >= REST_SECONDS
        size, free = await self.daemon.call(_size), shutil.disk_usage(self.folder).free
        full = size > FULL * self.limit_bytes or free < SCARCE_BYTES
        if ((self.dropped or self._earlier) and rested) or (full and size > self._left + GROWN * self.limit_bytes):
            await self.collect()

    async def collect(self) -> None:
        """Raises UnavailableError, Refused."""
        async with self.unpinning, self.putting:
            self.dropped = self._earlier = False
            await self.daemon.call(_collect)
        self._left, self._last = await self.daemon.call(_size), trio.current_time()

    async def leave(self) -> None:
        """What was dropped in this run goes now, if that takes no longer than a moment: nobody knows when the next run is."""
        if self.dropped:
            with trio.move_on_after(LEAVE_SECONDS), contextlib.suppress(UnavailableError, KuboRefusedError):
                await self.collect()


def _size(line: KuboConnection) -> int:
    return ask(line, "repo/stat", **{"size-only": "true"}).number("RepoSize") or 0


def _collect(line: KuboConnection) -> None:
    for _ in line.ask("repo/gc"):
        pass
