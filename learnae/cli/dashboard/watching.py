"""Keeps what is shown of several homes up to date: reads a home again only where something in it has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from learnae.cli.dashboard.overview import HomeView, Overview, names_of, view_of
from learnae.cli.homes import HISTORY, Processes, find_homes, processes_of
from learnae.errors import ConfigError
from learnae.node.connections import FILE as CONNECTIONS
from learnae.sensing.waiting_readings import FILE as SENSOR

MOST_HOMES = 64
LOOK_SECONDS = 2.0
RESTING = 4.0  # of the time that a look took
FILES = (HISTORY, f"{HISTORY}-wal", CONNECTIONS, SENSOR)

Stamp = tuple[Processes, tuple[tuple[int, int, int] | None, ...]]


def rest_after(seconds: float) -> float:
    """Until the next look, in seconds, after one that took so long: a machine that is busy is not kept busy by who watches."""
    return max(LOOK_SECONDS, RESTING * seconds)


def homes_of(places: Sequence[str]) -> list[Path]:
    """All homes that these mean; without any, those that a command without HOME means. By name. Raises ConfigError where there is none."""
    wanted: Sequence[str | None] = places or [None]
    found = [home for place in wanted for home in find_homes(place)]
    return sorted(dict.fromkeys(found))[:MOST_HOMES]


@attrs.define
class Watch:
    """`look` blocks on the disk. Homes that appear later, in a folder that was named, are shown from then on."""

    places: Sequence[str]
    homes: Sequence[Path]
    _find: Callable[[Sequence[str]], list[Path]] = homes_of
    _seen: dict[tuple[Path, str], tuple[Stamp, HomeView]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, places: Sequence[str]) -> Watch:
        """Raises ConfigError where there is no home."""
        return cls(places, homes_of(places))

    def look(self) -> Overview:
        """As all of them are now."""
        with suppress(ConfigError):  # they were there before, and are shown as they were
            self.homes = list(dict.fromkeys([*self.homes, *self._find(self.places)]))[:MOST_HOMES]
        named = list(zip(self.homes, names_of(self.homes), strict=True))
        views = [self._view(home, name) for home, name in named]
        self._seen = {where: seen for where, seen in self._seen.items() if where in named}
        return Overview(time.time(), views)

    def _view(self, home: Path, name: str) -> HomeView:
        stamp = _stamp(home)
        before = self._seen.get((home, name))
        if before is not None and before[0] == stamp:
            return before[1]
        view = view_of(home, name)
        self._seen[home, name] = stamp, view
        return view


def _stamp(home: Path) -> Stamp:
    """Another one as soon as anything was written."""
    return processes_of(home), tuple(map(_of_file, (home / name for name in FILES)))


def _of_file(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
