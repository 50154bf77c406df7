"""Finds the home that a command is about: by its folder, its file, its name, or the process that uses it.

Somebody else may have written what lies in a home. So no code that a home names is run, and no daemon that it names is asked. For that the
user has to name the peer's own TOML file, and so trusts it as a program.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from learnae.config.folders import default_home, expanded, folder_name, state_folder
from learnae.config.load import read
from learnae.config.options import KINDS, build, table_of
from learnae.config.saved_config import KeptFile, code_in, kept, programs_in
from learnae.config.tables import PeerTable, SwarmTable
from learnae.errors import ConfigError, Problem
from learnae.identity.homes import LOCK, holders
from learnae.opening import look
from learnae.plugins.manager import open_document, open_peer_file
from learnae.sensing.waiting_readings import FILE as SENSOR
from learnae.shared_folder import in_words
from learnae.texts import in_shell

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from learnae.config.tables import Config
    from learnae.plugins.manager import PluginManager


HISTORY, PEER_FILE = "history.sqlite", "learnae.toml"
FILES = (HISTORY, SENSOR)
"""One of these lies in a home: a sensor has no history."""
SHOWN = 10


def find_homes(text: str | None) -> list[Path]:
    """The homes that `text` means. Without it, those of learnae.toml in this folder. Without such a file, all under the state folder.

    Those used last come first. Raises ConfigError if there is none.
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
    """The one home that `text` means, with a history. If there are several, raises ConfigError with their names."""
    found = find_homes(text)
    homes = [home for home in found if not is_of_sensor(home)]
    if not homes:
        raise ConfigError(
            Problem("HOME", f"{found[0]} is the home of a sensor, which has no history", "`learnae status` shows what it has")
        )
    if len(homes) > 1:
        names = "".join(f"\n    {name_of(home)}" for home in homes[:SHOWN])
        raise ConfigError(Problem("HOME", f"there are {len(homes)} homes, name one of them:{names}"))
    return homes[0]


def is_of_sensor(home: Path) -> bool:
    """Whether a sensor has run there, and nothing that keeps a history."""
    return os.path.lexists(home / SENSOR) and not os.path.lexists(home / HISTORY)


def home_and_rest(first: str | None, second: str | None) -> tuple[str | None, str | None]:
    """HOME and the word behind it. A single word is a HOME only if it is a path that exists or looks like one, or the name of a home.

    Raises ConfigError if that cannot be found out.
    """
    alone = second is None and first is not None
    try:
        return (None, first) if alone and not _is_place(str(first)) else (first, second)
    except OSError as error:
        raise _closed(error, _usual_place()) from error


def last_used(home: Path) -> float:
    """On the machine's wall clock."""
    moments = []
    for file in (home / HISTORY, home / f"{HISTORY}-wal", home / SENSOR):
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


def command_for(home: Path, command: str, *rest: str) -> str:
    """A command as somebody would type it for this home. It names the home, unless the command finds this one alone without a name."""
    short = f"{home.parent.name}/{home.name}"
    named = [] if _means(None, home) else [in_shell(short) if _means(short, home) else name_of(home)]
    return f"`{' '.join(['learnae', command, *named, *rest])}`"


def _means(text: str | None, home: Path) -> bool:
    try:
        return find_homes(text) == [home]
    except ConfigError:
        return False


def _homes_called(name: str) -> list[Path]:
    """The homes with this name. `peer-1` is looked for among the homes that a command without HOME means.

    Else it is `digits/peer-1`, or the name of a swarm, for all of its homes.
    """
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
    return any(os.path.lexists(path / file) for file in FILES)


def _is_home_for_sure(path: Path) -> bool:
    """Of the one that was named. Raises OSError where it may not be looked into."""
    return any(look(path / file) is not None for file in FILES)


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
    return ConfigError(Problem("HOME", what, "name the home or the TOML file of a peer that has run"))


def _none_yet(place: Path) -> ConfigError:
    """For somebody who has named nothing."""
    what = f"no peer of {place} has run yet" if os.path.isfile(place) else f"no peer has run yet: there is none in {place}"
    return ConfigError(Problem("HOME", what, "start one with `learnae run FILE`, or name the home or the TOML file of a peer that has run"))


NODE = b"learnae.node"


@attrs.frozen
class Processes:
    """The processes of a peer; None where it is not there."""

    trainer: int | None = None
    node: int | None = None

    @property
    def running(self) -> bool:
        return self.trainer is not None or self.node is not None


def processes_of(home: Path) -> Processes:
    """The living processes that hold this home's lock."""
    pids = [pid for pid in holders(home) if _holds(pid, home / LOCK)]
    nodes = [pid for pid in pids if _is_node(pid)]
    trainers = [pid for pid in pids if pid not in nodes]
    return Processes(next(iter(trainers), None), next(iter(nodes), None))


def _holds(pid: int, lock: Path) -> bool:
    """Whether the process has the lock open: its number may be that of another by now. Where that cannot be seen, it is believed."""
    try:
        opened = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return True
    return any(_same(file, lock) for file in opened)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # closed meanwhile
        return False


def _is_node(pid: int) -> bool:
    try:
        return NODE in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


TABLES = ("swarm", "peer", "plugins")  # beside the strategies that a command needs


def settings_of(home: Path, named: str | None, kinds: Sequence[str], log: FilteringBoundLogger) -> tuple[Config, PluginManager]:
    """Of the TOML file if that is what was `named` on the command line, else as the peer was last run, of which only these `kinds` count.

    Raises ConfigError, PluginError.
    """
    if named is not None and os.path.isfile(file := expanded(named, "HOME")):
        return open_peer_file(file, log=log)
    if (settings := kept(home)) is None:
        raise ConfigError(Problem(str(home), "does not say where its storages are", "name the peer's TOML file, or start it once"))
    document = {name: table for name, table in settings.document.items() if name in (*TABLES, *kinds)}
    if code := code_in(document):
        raise _untrusted(home, f"its configuration names code: {', '.join(code)}", settings)
    config, manager = open_document(document, folder=settings.folder, log=log, local=False)
    if programs := programs_in(document, manager.options_of(config.folder)):
        raise _untrusted(home, f"its configuration names programs: {', '.join(programs)}", settings)
    if leaving := list(_leaving(config, manager)):
        raise _untrusted(home, f"its configuration says whom to ask for the storage {', '.join(leaving)}", settings)
    return config, manager


def _leaving(config: Config, manager: PluginManager) -> Iterator[str]:
    """The storages that reach out of this machine, or start a program that does."""
    for choice in config.storage:
        if manager.find(KINDS["storage"].name, choice.use, config.folder).load().leaves_machine:  # type: ignore[attr-defined]
            yield choice.use


def _untrusted(home: Path, why: str, settings: KeptFile) -> ConfigError:
    message = f"{why}. What somebody has put into a home is not followed"
    remedy = f"if this peer is yours, name its TOML file in place of the home; it was in {settings.folder}"
    return ConfigError(Problem(str(home), message, remedy))
