"""The file of a peer, kept in its home as it was last used: there it tells others what this peer is and where its storages are."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from learnae import opening
from learnae.config.tables import Config
from learnae.config.wire import dump
from learnae.errors import ConfigError, Problem
from learnae.identity.home_folder import open_home
from learnae.records import MEGABYTE

FILE = "config.json"
MOST_BYTES = 4 * MEGABYTE


@attrs.frozen
class Kept:
    """A document as `load_document` takes it; relative paths start at `folder`."""

    document: Mapping[str, Any]
    folder: Path

    def table(self, name: str) -> Mapping[str, Any]:
        """What stands there; empty for a table that is not."""
        table = self.document.get(name, {})
        return table if isinstance(table, Mapping) else {}


def keep(config: Config, home: Path) -> None:
    """Whole or not at all. There are no secrets in it. Raises OSError, ConfigError for a home that is not the user's own."""
    text = json.dumps({"folder": str(config.folder), "config": dump(config)}, indent=2) + "\n"
    with open_home(home) as folder:
        opening.replace_file(FILE, text.encode(), at=folder.fd)


def kept(home: Path) -> Kept | None:
    """None where no peer has run yet. Raises ConfigError for a file that is damaged."""
    path = home / FILE
    try:
        with open_home(home, looking=True) as folder:
            content = json.loads(folder.read(FILE, MOST_BYTES, links=None))  # never written in place, so a backup may share it
        return Kept(dict(content["config"]), _absolute(content["folder"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(Problem(str(path), f"cannot be read: {error}", "start this peer once: it is written anew")) from error


def _absolute(text: str) -> Path:
    if not os.path.isabs(text) or "\0" in text:
        raise ValueError("its folder is no whole path")
    return Path(text)
