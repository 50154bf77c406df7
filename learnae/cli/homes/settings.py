"""How the peer of a home is configured, whether it runs or not.

What is kept in a home may have been written by whoever gave it away. So nothing that it names is run, and nobody is asked where it says:
that takes the peer's own TOML file, named by a user who trusts it as a program.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from learnae.config.choices import KINDS
from learnae.config.code import code_in
from learnae.config.folders import expanded
from learnae.config.kept import Kept, kept
from learnae.errors import ConfigError, Problem
from learnae.plugins.peer_file import open_document, open_peer_file

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from learnae.config.tables import Config
    from learnae.plugins.manager import PluginManager

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
    if leaving := list(_leaving(config, manager)):
        raise _untrusted(home, f"its configuration says whom to ask for the storage {', '.join(leaving)}", settings)
    return config, manager


def _leaving(config: Config, manager: PluginManager) -> Iterator[str]:
    """The storages that reach out of this machine, or start a program that does."""
    for choice in config.storage:
        if manager.find(KINDS["storage"].name, choice.use, config.folder).load().leaves_machine:  # type: ignore[attr-defined]
            yield choice.use


def _untrusted(home: Path, why: str, settings: Kept) -> ConfigError:
    message = f"{why}. What somebody has put into a home is not followed"
    remedy = f"if this peer is yours, name its TOML file in place of the home; it was in {settings.folder}"
    return ConfigError(Problem(str(home), message, remedy))
