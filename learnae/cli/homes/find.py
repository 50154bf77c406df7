"""Which peer a command is about: a HOME is a peer's folder, its TOML file, or a folder with that or with several homes; under the state
folder also a name such as `peer-1`, `digits/peer-1`, or that of a swarm.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from learnae.config.choices import table_of
from learnae.config.folders import default_home, expanded, folder_name, state_folder
from learnae.config.options import build
from learnae.config.tables import PeerTable, SwarmTable
from learnae.config.toml import read
from learnae.errors import ConfigError, Problem
from learnae.opening import look
from learnae.shared_folder import in_words
from learnae.texts import in_shell

HISTORY, PEER_FILE = "history.sqlite", "learnae.toml"
SHOWN = 10


def find_homes(text: str | None) -> list[Path]:
    """The homes that `text` means; without it those of the file in this folder, and without such a file all under the state folder.

    Those used last come first. Raises ConfigError where there is none.
    """
    place = expanded(text, "HOME") if text is not None else _usual_place()
    try:
        found = _homes_at(place, named=text is not None) if _is_there(place) else _homes_called(str(place))
    except OSError as error:
        raise _closed(error, place) from error
    if not found:
        raise _none_at(place) if text is not None else _none_yet(place)
    return sorted(found, key=last_used, reverse=True)


def find_home(text: str | None) -> Path:
    """The one home that `text` means. Raises ConfigError, naming them all where there are several."""
    homes = find_homes(text)
    if len(homes) > 1:
        names = "".join(f"\n    {name_of(home)}" for home in homes[:SHOWN])
        raise ConfigError(Problem("HOME", f"there are {len(homes)} homes, name one of them:{names}"))
    return homes[0]


def home_and_rest(first: str | None, second: str | None) -> tuple[str | None, str | None]:
    """HOME and the word behind it, where a word alone is a HOME only if it is a path that exists or looks like one.

    Raises ConfigError where that cannot be found out.
    """
    alone = second is None and first is not None
    try:
        return (None, first) if alone and not _is_place(str(first)) else (first, second)
    except OSError as error:
        raise _closed(error, _usual_place()) from error


def last_used(home: Path) -> float:
    """On the machine's wall clock."""
    moments = []
    for file in (home / HISTORY, home / f"{HISTORY}-wal"):
        with suppress(OSError):
            moments.append(file.lstat().st_mtime)
    return max(moments, default=0.0)


def _usual_place() -> Path:
    file = Path.cwd() / PEER_FILE
    return file if os.path.isfile(file) else state_folder() / "homes"


def _is_place(text: str) -> bool:
    return os.sep in text or text.endswith(".toml") or os.path.exists(text) or bool(_homes_called(text))


def name_of(home: Path) -> str:
    """What can be pasted into a shell behind a command."""
    return in_shell(home)


def _homes_called(name: str) -> list[Path]:
    """Those of this name, such as `peer-1`, among the homes that are meant where none is named; else `digits/peer-1`, or all of a swarm."""
    place, everywhere = _usual_place(), state_folder() / "homes"
    near = [home for home in _homes_at(place) if home.name == name] if os.path.exists(place) else []
    wanted = {name, folder_name(name)}
    return near or [home for home in _homes_at(everywhere) if wanted & {f"{home.parent.name}/{home.name}", home.parent.name}]


def _homes_at(place: Path, *, named: bool = False) -> list[Path]:
    if os.path.isfile(place):
        return _homes_of(place, named=named)
    if _is_home_for_sure(place):
        return [place.absolute()]
    if os.path.isfile(place / PEER_FILE):
        return _homes_of(place / PEER_FILE, named=False)
    if place == state_folder() / "homes":  # one folder for each swarm
        return [home for swarm in _folders(place) for home in _homes_in(swarm)]
    return _homes_in(place)


def _homes_of(file: Path, *, named: bool) -> list[Path]:
    """The home that a peer's file names, or those that its swarm has under the state folder."""
    document, folder = read(file, named=named), file.absolute().parent
    home = build(PeerTable, table_of(document.get("peer", {}), "peer", "peer"), "peer", folder).home
    if home is not None:
        return [home] if _is_home_for_sure(home) else []
    return _homes_in(default_home(build(SwarmTable, table_of(document.get("swarm", {}), "swarm", "swarm"), "swarm", folder).name))


def _homes_in(folder: Path) -> list[Path]:
    return [home.absolute() for home in _folders(folder) if _is_home(home)]


def _folders(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if os.path.isdir(path)) if os.path.isdir(folder) else []


def _is_home(path: Path) -> bool:
    """Of several, those that may not be looked into are left out. What it is that lies there is told by whoever opens it."""
    return os.path.lexists(path / HISTORY)


def _is_home_for_sure(path: Path) -> bool:
    """Of the one that was named. Raises OSError where it may not be looked into."""
    return look(path / HISTORY) is not None


def _is_there(place: Path) -> bool:
    """Raises OSError where it may not be looked for."""
    try:
        os.stat(place)
    except PermissionError:
        raise
    except (OSError, ValueError):
        return False
    return True


def _closed(error: OSError, place: Path) -> ConfigError:
    return ConfigError(Problem("HOME", in_words(error, place, shared=False), "name another home"))


def _none_at(place: Path) -> ConfigError:
    what = f"no peer has run in {place}" if os.path.exists(place) else f"there is no {place}"
    return ConfigError(Problem("HOME", what, "name a peer's home or its TOML file; one that has run at least once"))


def _none_yet(place: Path) -> ConfigError:
    """For somebody who has named nothing."""
    what = f"no peer of {place} has run yet" if os.path.isfile(place) else f"no peer has run yet: there is none in {place}"
    return ConfigError(Problem("HOME", what, "start one with `learnae run FILE`, or name a peer's home or its TOML file"))
