"""How the peer of a home is configured, whether it runs or not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from learnae.config.folders import expanded
from learnae.config.kept import kept
from learnae.errors import ConfigError, Problem
from learnae.plugins.peer_file import open_document, open_peer_file

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from learnae.config.tables import Config
    from learnae.plugins.manager import PluginManager


def settings_of(home: Path, named: str | None, log: FilteringBoundLogger) -> tuple[Config, PluginManager]:
    """Of the TOML file if that is what was `named` on the command line, else as the peer was last run. Raises ConfigError, PluginError."""
    if named is not None and os.path.isfile(file := expanded(named, "HOME")):
        return open_peer_file(file, log=log)
    if (settings := kept(home)) is None:
        raise ConfigError(Problem(str(home), "does not say where its storages are", "name the peer's TOML file, or start it once"))
    return open_document(settings.document, folder=settings.folder, log=log)
