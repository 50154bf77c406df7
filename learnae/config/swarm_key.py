"""Where a peer's file says that the key of its swarm is, and what is there: a variable of the environment, or a file.

The key stays out of the Config, which is shown, sent to the node and written to disk: whoever needs it reads it where it lies.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from learnae.config.tables import SwarmTable
from learnae.errors import ConfigError, Problem
from learnae.identity.swarm_keys import SwarmKey
from learnae.identity.swarms import Swarm
from learnae.texts import in_shell

_MOST_BYTES = 1024
_MAKE_ONE = "`learnae key` makes one for a new swarm; that of an old one comes from a member"


def swarm_of(table: SwarmTable) -> Swarm:
    """The swarm that this table names. Raises ConfigError for a key that is not there, malformed, or readable by others."""
    return Swarm(table.name, _key(table))


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
        remedy = f'set it before the start, such as export {name}="$(cat swarm.key)"; {_MAKE_ONE}'
        raise ConfigError(Problem("swarm.key_env", f"the variable {name} is not set", remedy))
    return text


def _from_file(path: Path) -> str:
    try:
        return _read(path)
    except OSError as error:
        remedy = f"check path and owner; {_MAKE_ONE}"
        raise ConfigError(Problem("swarm.key_file", f"{path} cannot be read: {error.strerror}", remedy)) from error


def _read(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe is not waited for
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise ConfigError(Problem("swarm.key_file", f"{path} is no file", "name the file that holds the key"))
        if mode & 0o077:
            message = f"others on this machine may read {path} (mode {stat.S_IMODE(mode):o})"
            raise ConfigError(Problem("swarm.key_file", message, f"chmod 600 {in_shell(path)}; if others may have read it, change the key"))
        return file.read(_MOST_BYTES).decode("utf-8-sig", "replace")
