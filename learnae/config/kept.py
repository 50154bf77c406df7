"""The file of a peer, kept in its home as it was last used: there it tells others what this peer is and where its storages are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from learnae.config.tables import Config
from learnae.config.wire import dump
from learnae.errors import ConfigError, Problem

FILE = "config.json"


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
    """Whole or not at all. There are no secrets in it. Raises OSError."""
    draft = home / f"{FILE}.new"
    draft.write_text(json.dumps({"folder": str(config.folder), "config": dump(config)}, indent=2) + "\n")
    draft.replace(home / FILE)


def kept(home: Path) -> Kept | None:
    """None where no peer has run yet. Raises ConfigError for a file that is damaged."""
    path = home / FILE
    try:
        content = json.loads(path.read_text())
        return Kept(dict(content["config"]), Path(content["folder"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(Problem(str(path), f"cannot be read: {error}", "start this peer once: it is written anew")) from error
