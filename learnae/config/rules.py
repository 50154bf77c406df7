"""Rules across several keys of a peer's file, and where the key of its swarm is read from.

The key stays out of the Config, which is shown, sent to the node and written to disk: whoever needs it reads it where it lies.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from learnae import opening
from learnae.config.problems import Problems
from learnae.config.tables import Choice, Config, DataTable, JoinTable, PeerTable, SensorTable, StorageChoice, SwarmTable
from learnae.data.readings import SOURCE_CHARACTERS as _SOURCE_CHARACTERS
from learnae.data.readings import ReadingFormat, declared
from learnae.errors import ConfigError, Problem
from learnae.identity.swarms import SwarmIdentity, SwarmKey, looks_like_a_key, without_keys
from learnae.texts import in_shell

SETTLE_WAITS = 3  # with less, two peers that founded at once may both be established before they hear of each other


_RESTS_ON = {
    "join.settle_seconds": ("join.wait_seconds",),
    "peer.relay": ("storage", "announcer"),
    "data.accept_bytes": ("peer.role", "peer.quota_bytes"),
    "data.share": ("data.share_rows", "data.share_fraction", "peer.role"),
    "data.entry": ("peer.role", "data.entry"),
    "data.licence": ("data.licence",),
    "data.gather": ("data.accept_bytes",),
    "sensor": ("peer.role",),
    "sensor.columns": ("sensor.columns", "sensor.label"),
}


def rests_on(key: str, bad: Collection[str]) -> bool:
    """Whether the rule for this key looks at one of these as well, and so cannot be judged without them."""
    return any(other.startswith(others) for others in _RESTS_ON.get(key, ()) for other in bad)


def without_secrets(swarm: Mapping[str, Any], problems: Problems) -> Mapping[str, Any]:
    """The table without the key itself, which has no place in a file that is shown and shared: under whatever name it stands there."""
    secret = {name for name, value in swarm.items() if name == "key" or looks_like_a_key(f"{name} {value}")}
    for name in sorted(secret):
        problems.add(
            f"swarm.{name}", "a key never stands in this file", 'name the variable that holds it: key_env = "SWARM_KEY"; and change the key'
        )
    return {name: value for name, value in swarm.items() if name not in secret}


def unrevealing(problem: Problem) -> Problem:
    """The same without the key that somebody has put where it does not belong: problems are shown, logged and pasted."""
    return Problem(*(text and without_keys(text) for text in attrs.astuple(problem)))


def guarded(swarm: SwarmTable, problems: Problems) -> SwarmTable:
    """As it is; a private swarm names its key once, and whoever names one has it."""
    if swarm.key_env is not None and swarm.key_file is not None:
        problems.add("swarm.key_file", "there is swarm.key_env as well", "leave one of the two out")
        return swarm
    if swarm.open and (swarm.key_env is not None or swarm.key_file is not None):
        problems.add("swarm.open", "a swarm with a key is not open to whoever comes", "leave it out; or leave the key out")
    with problems.collected():
        swarm_of(swarm)
    return swarm


def settled(join: JoinTable, problems: Problems, *, given: bool) -> JoinTable:
    """With a `settle_seconds` that fits `wait_seconds`; one that was given is never changed."""
    least = SETTLE_WAITS * join.wait_seconds
    if not given:
        return attrs.evolve(join, settle_seconds=max(join.settle_seconds, least))
    if join.settle_seconds < least:
        problems.add("join.settle_seconds", f"must be at least three times join.wait_seconds, {least}, not {join.settle_seconds}")
    return join


def relaying(peer: PeerTable, storages: Sequence[StorageChoice], announcers: Sequence[Choice], problems: Problems) -> None:
    """A relay has something to relay between: two announcers, or two storages of which one at least is written to."""
    if "relay" in IDLE_KEYS.get(peer.role, ()):
        return
    if peer.relay and len(announcers) < 2 and (len(storages) < 2 or not any(storage.write for storage in storages)):
        problems.add(
            "peer.relay",
            "there is nothing to relay between: one announcer, and no second storage, or none that is written to",
            "write a second [[announcer]] or a second [[storage]]; or leave it out",
        )


BUILT: tuple[str, ...] = ("trainer", "observer", "keeper", "provider", "sensor")
_MODEL = ("train", "model", "selector", "gate", "merge", "outer", "codec")
IDLE: Mapping[str, tuple[str, ...]] = {
    "provider": (*_MODEL, "join"),
    "keeper": _MODEL,
    "sensor": (*_MODEL, "join", "storage", "node"),
    "observer": ("outer", "codec", "data"),
}
"""By role, the tables that it has no use for: what a file says there would have no effect."""


IDLE_KEYS: Mapping[str, Mapping[str, str]] = {
    "keeper": {
        "relay": "passes on whatever it hears over all of its media anyway",
        "share_contributions": "merges nothing, so it has no view",
    },
    "provider": {"relay": "passes on nothing", "share_contributions": "merges nothing, so it has no view"},
    "sensor": {"relay": "passes on nothing", "share_contributions": "merges nothing, so it has no view"},
}
"""By role, the keys of `[peer]` that have no effect for it, and why."""


def played(peer: PeerTable, given: Collection[str], problems: Problems) -> None:
    """A role that there is, and no tables that it has no use for. `given` are those that say something."""
    if peer.role not in BUILT:
        problems.add("peer.role", f'"{peer.role}" is not built yet', f"there are: {', '.join(BUILT)}")
        return
    for table in IDLE.get(peer.role, ()):
        if table in given:
            whom = "an observer, which publishes nothing" if peer.role == "observer" else f"a {peer.role}, which knows no model"
            problems.add(
                table,
                f"has no effect for {whom}",
                "leave it out; or leave out peer.role",
            )
    for key, why in IDLE_KEYS.get(peer.role, {}).items():
        if getattr(peer, key):
            problems.add(f"peer.{key}", f"has no effect for a {peer.role}, which {why}", "leave it out")


def providing(peer: PeerTable, data: DataTable, problems: Problems) -> None:
    """A provider gives rows that a function returns, and takes none. For all others that function has no effect."""
    if peer.role != "provider":
        for name in ("entry", "label"):
            if getattr(data, name) is not None:
                remedy = 'leave it out; or write [peer] role = "provider". A peer that trains gives rows by swarm.dataset(rows)'
                problems.add(f"data.{name}", "has an effect for a provider alone", remedy)
        return
    if data.share != "slices":
        problems.add("data.share", "a provider is there to give rows", 'share = "slices", share_rows or share_fraction, and licence')
    if data.entry is None:
        problems.add("data.entry", "says nothing of which rows a provider gives", 'entry = "data:rows", a function in data.py')
    for name in ("accept_bytes", "licences", "ranges", "gather"):
        if getattr(data, name):
            problems.add(f"data.{name}", "has no effect for a provider, which takes no rows", "leave it out")


def keeping(peer: PeerTable, data: DataTable, problems: Problems) -> None:
    """A keeper has no rows of its own: it says only how many bytes of those of others it keeps, and under which licences."""
    if peer.role != "keeper":
        return
    idle = DataTable(accept_bytes=data.accept_bytes, licences=data.licences)
    for name in (field.name for field in attrs.fields(DataTable) if getattr(data, field.name) != getattr(idle, field.name)):
        problems.add(f"data.{name}", "has no effect for a keeper, which has no rows of its own", "leave it out")
    if data.accept_bytes >= peer.quota_bytes:
        remedy = "let peer.quota_bytes be more than data.accept_bytes: what is left is for updates"
        problems.add("data.accept_bytes", f"leaves no room for updates in peer.quota_bytes, {peer.quota_bytes:,}", remedy)


_WEIGHTS_ONLY = "leave it out; or leave out swarm.weights_only, in all peers: their swarm is another one then"


def sensing(role: str, sensor: SensorTable, data: DataTable, swarm: SwarmTable, problems: Problems) -> None:
    """A sensor says what a reading has and under which licence others may use it, and no other peer does."""
    if role != "sensor":
        if sensor != SensorTable():
            problems.add("sensor", f"has no effect for a {role}", 'leave it out; or say [peer] role = "sensor"')
        return
    with problems.collected():
        if not sensor.columns:
            raise ConfigError(Problem("sensor.columns", "is missing", 'what a reading has: columns = {temperature = "float32"}'))
        ReadingFormat(declared(sensor.columns, sensor.label), data.licence, data.source[:_SOURCE_CHARACTERS])
    if not data.licence.strip():
        problems.add("data.licence", "readings are given only under a licence", 'such as licence = "CC0-1.0", if they are yours to give')
    if len(data.source) > _SOURCE_CHARACTERS:
        problems.add("data.source", f"travels with each message: at most {_SOURCE_CHARACTERS} characters for a sensor", "shorten it")
    idle = DataTable(licence=data.licence, source=data.source)
    for name in (field.name for field in attrs.fields(DataTable) if getattr(data, field.name) != getattr(idle, field.name)):
        problems.add(f"data.{name}", "has no effect for a sensor, which gives readings alone", "leave it out; a trainer gathers")
    if swarm.weights_only:
        problems.add("peer.role", "in a swarm of weights only no peer gives readings", "leave out swarm.weights_only, in all peers")


def consented(data: DataTable, swarm: SwarmTable, problems: Problems) -> None:
    """Whoever gives rows says how many and under which licence; in a swarm of weights only nobody gives or takes any."""
    if data.share == "slices":
        own = not (data.gather and data.share_rows is None and data.share_fraction is None)
        if own and data.share_rows is None and data.share_fraction is None:
            problems.add("data.share", "does not say how many rows", "share_rows = 300, or share_fraction = 0.05")
        if own and not data.licence.strip():
            problems.add("data.licence", "rows are given only under a licence", 'such as licence = "CC0-1.0", if they are yours to give')
        if swarm.weights_only:
            problems.add("data.share", "in a swarm of weights only no peer gives rows", _WEIGHTS_ONLY)
    if data.gather and not data.accept_bytes:
        problems.add("data.gather", "has no room for readings", "accept_bytes = 100_000_000 is the disk space for rows of others")
    if data.gather and swarm.weights_only:
        problems.add("data.gather", "in a swarm of weights only no peer takes readings", _WEIGHTS_ONLY)
    if data.accept_bytes and swarm.weights_only:
        problems.add("data.accept_bytes", "in a swarm of weights only no peer takes rows", _WEIGHTS_ONLY)


def what_leaves(config: Config, *, folders_only: bool = False) -> str:
    """One sentence or a few: what of this peer others get. `folders_only` is whether it uses nothing but folders."""
    if config.peer.role == "keeper":
        passed_on = "No model of this machine's own, and no row of data, leaves it: it passes on what others have published"
        under = f"under {', '.join(config.data.licences)}" if config.data.licences else "under any licence that they name"
        return f"{passed_on}, and rows that they give {under}." if config.data.accept_bytes else f"{passed_on}."
    if config.peer.role == "sensor":
        where = "go to the swarm's folders" if folders_only else "leave this machine"
        return f"Readings {where}: {', '.join(sorted(config.sensor.columns))}, under {config.data.licence}. Who has heard them keeps them."
    view = ""
    if config.peer.share_contributions:
        where = "goes to the swarm's folders" if folders_only else "leaves this machine"
        view = (
            f" A signed view of what each other peer gave {where}: who has fetched it can show it to anybody, and it cannot be taken back."
        )
    if config.peer.role == "observer":
        return f"No weights of this machine's own, and no row of data, leave it.{view}"
    return _weights_and_rows(config, folders_only=folders_only) + view


def _weights_and_rows(config: Config, *, folders_only: bool) -> str:
    weights = "Weights go to the swarm's folders" if folders_only else "Weights leave this machine"
    if config.data.share != "slices":
        return f"{weights}. No row of data does." + (" In this swarm no peer gives rows." if config.swarm.weights_only else "")
    rows, fraction = config.data.share_rows, config.data.share_fraction
    limits = [*([] if rows is None else [f"{rows:,} rows"]), *([] if fraction is None else [f"{100 * fraction:g} % of the rows"])]
    own = [f"{', and '.join(f'at most {limit}' for limit in limits)}, under {config.data.licence}"] if limits else []
    gathered = ["readings that it gathers from sensors, under their licences"] if config.data.gather else []
    rows_given = f"{', and '.join([*own, *gathered])}. Who has fetched them keeps them."
    return f"No weights leave this machine. Rows do: {rows_given}" if config.peer.role == "provider" else f"{weights}, and {rows_given}"


def refuse_strangers(config: Config, swarm: SwarmIdentity, leaving: Sequence[str]) -> None:
    """Raises ConfigError where whoever comes could take part, or read along, by these services that leave the machine, without consent."""
    if leaving and not (swarm.key or config.peer.allow or config.swarm.open):
        message = f"{leaving[0]} leaves this machine, so strangers could take part or read along"
        remedy = "name a key in swarm.key_env (`learnae key` makes one), or the peers in peer.allow, or consent with swarm.open = true"
        raise ConfigError(Problem("swarm.open", message, remedy))


_MOST_BYTES = 1024
_MAKE_ONE = "`learnae key` makes one for a new swarm; that of an old one comes from a member"


def swarm_of(table: SwarmTable) -> SwarmIdentity:
    """The swarm that this table names. Raises ConfigError for a key that is not there, malformed, or readable by others."""
    return SwarmIdentity(table.name, _key(table), table.weights_only)


def _key(table: SwarmTable) -> SwarmKey | None:
    if table.key_env is not None:
        return _parsed("swarm.key_env", f"the variable {table.key_env}", _from_environment(table.key_env))
    if table.key_file is not None:
        return _parsed("swarm.key_file", str(table.key_file), _from_file(table.key_file))
    return None


def _parsed(key: str, place: str, text: str) -> SwarmKey:
    try:
        return SwarmKey.parse(text)
    except ValueError as error:
        raise ConfigError(Problem(key, f"{place} {error}", _MAKE_ONE)) from None  # the cause would show the text


def _from_environment(name: str) -> str:
    text = os.environ.get(name)
    if text is None:
        remedy = f'set it before the start, such as export {in_shell(name)}="$(cat swarm.key)"; {_MAKE_ONE}'
        raise ConfigError(Problem("swarm.key_env", f"the variable {name} is not set", remedy))
    return text


def _from_file(path: Path) -> str:
    try:
        return _read(path)
    except opening.UnfitError as error:
        message = f"{error.filename} {error.strerror}" if error.errno == errno.ELOOP else f"{path} is no file"
        raise ConfigError(Problem("swarm.key_file", message, "name the file that holds the key")) from error
    except OSError as error:
        remedy = f"check path and owner; {_MAKE_ONE}"
        raise ConfigError(Problem("swarm.key_file", f"{path} cannot be read: {error.strerror}", remedy)) from error


def _read(path: Path) -> str:
    folder, name = opening.reach_file(path)
    try:
        descriptor = opening.open_file(name, at=folder, links=None)
    finally:
        os.close(folder)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if mode & 0o077:
            message = f"others on this machine may read {path} (mode {stat.S_IMODE(mode):o})"
            raise ConfigError(Problem("swarm.key_file", message, f"chmod 600 {in_shell(path)}; if others may have read it, change the key"))
        return file.read(_MOST_BYTES).decode("utf-8-sig", "replace")
