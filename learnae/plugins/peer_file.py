"""A peer's file together with the plugins that it needs: each can only be read with the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnae.config.load import disabled, load_document
from learnae.config.toml import read
from learnae.plugins.manager import PluginManager

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from learnae.config.tables import Config


def open_peer_file(
    path: Path | None, *, name: str | None = None, overrides: Sequence[str] = (), log: FilteringBoundLogger | None = None
) -> tuple[Config, PluginManager]:
    """What a TOML file says, or the defaults, and the plugins that it leaves enabled. `name` stands for `swarm.name`.

    Raises ConfigError with all problems of the file, PluginError.
    """
    document, folder = ({}, Path.cwd()) if path is None else (read(path), path.absolute().parent)
    return open_document(document, folder=folder, name=name, overrides=overrides, log=log)


def open_document(
    document: Mapping[str, Any],
    *,
    folder: Path,
    name: str | None = None,
    overrides: Sequence[str] = (),
    log: FilteringBoundLogger | None = None,
    local: bool = True,
) -> tuple[Config, PluginManager]:
    """As `open_peer_file`, from a document: also one that `learnae.config.wire.dump` made. Without `local` no code beside it is run."""
    manager = PluginManager.discover(disabled(document, overrides), log=log, local=local)
    config = load_document(document, folder=folder, name=name, overrides=overrides, options_of=manager.options_of(folder))
    return config, manager
