"""Where things lie that the user did not name. Nothing is made here."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from learnae.config.words import show
from learnae.errors import ConfigError, Problem
from learnae.identity.swarms import Swarm


def state_folder() -> Path:
    """`$XDG_STATE_HOME/learnae`; a variable that is not an absolute path counts as not set, as its standard says. Raises ConfigError."""
    named = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(named):
        return Path(named) / "learnae"
    try:
        return Path.home() / ".local" / "state" / "learnae"
    except RuntimeError as error:
        raise ConfigError(
            Problem("XDG_STATE_HOME", "is not set, and this user has no home folder", "set it to a folder to write to")
        ) from error


def meeting_folder() -> Path:
    """Where the peers of this machine meet without a network."""
    return state_folder() / "meeting"


def meeting_place(swarm: Swarm) -> Path:
    """Where those of one swarm meet. That of a private swarm tells its name to nobody."""
    return meeting_folder() / (folder_name(swarm.name) if swarm.key is None else swarm.channel)


def default_home(swarm: str) -> Path:
    """The folder in which the homes of this swarm's peers lie."""
    return state_folder() / "homes" / folder_name(swarm)


def folder_name(swarm: str) -> str:
    """A name for a folder, on any file system; different swarms get different ones, also where upper and lower case are one."""
    if re.fullmatch("[a-z0-9][a-z0-9_-]{0,63}", swarm):
        return swarm
    readable = re.sub("[^a-z0-9_-]+", "-", swarm.lower()).strip("-")[:40]
    return f"{readable}+{hashlib.sha256(swarm.encode(errors='surrogatepass')).hexdigest()[:12]}"


def expanded(text: str, key: str) -> Path:
    """The path, with `~` as the home folder; `$VARIABLES` are for the shell. Raises ConfigError, at `key`, where there is no such home."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(Problem(key, f"has no home folder to begin with: {show(text)}", "write the whole path")) from error


def existing(folder: Path) -> Path:
    """The folder, or that of its parents which is there already."""
    return next(place for place in (folder, *folder.parents) if os.path.lexists(place))
