"""The strategies of a file, made without a node: to see that they can be made, or to fetch with them."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from learnae.config.folders import meeting_place
from learnae.config.swarm_key import swarm_of
from learnae.node.assembly import Assembly, assemble
from learnae.node.surroundings import Shared, Surroundings, in_worker_threads
from learnae.records import PeerId

if TYPE_CHECKING:
    from learnae.config.tables import Config
    from learnae.plugins.manager import PluginManager

NOBODY = PeerId("0" * 64)  # a storage must not take what runs here for the peer's own node


def make_strategies(config: Config, manager: PluginManager, home: Path, peer: PeerId = NOBODY, *, abandon: bool = False) -> Assembly:
    """They make nothing where a home, perhaps a gift, says so. With `abandon`, whoever is cut off does not wait for a thread that
    hangs. Raises ConfigError, PluginError.
    """
    return assemble(config, manager, peer, surroundings(config, manager, home, abandon=abandon, existing_only=True))


def surroundings(config: Config, manager: PluginManager, home: Path, *, abandon: bool = False, existing_only: bool = False) -> Surroundings:
    """Those of a command. Raises ConfigError for a swarm whose key cannot be had."""
    threads = partial(in_worker_threads, abandon=abandon)
    in_thread = threads()
    return Surroundings(
        home=home,
        meeting=meeting_place(swarm_of(config.swarm)),
        clock=time.monotonic,
        seed=0,
        in_thread=in_thread,
        in_watcher_thread=in_thread,
        threads=threads,
        share=Shared(),
        log=manager.log,
        existing_only=existing_only,
    )
