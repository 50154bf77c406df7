"""Whether services that were chosen at the command line can be had: before anything is started with them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio

from learnae.cli.check.findings import Findings
from learnae.cli.check.services import check_services
from learnae.cli.strategies import make_strategies
from learnae.config.load import load_document
from learnae.errors import ConfigError, Problem
from learnae.logs import make_logger
from learnae.plugins.manager import PluginManager

IN_A_CHECKOUT = {("storage", "ipfs"): "plugins/ipfs", ("announcer", "iota"): "plugins/iota"}


def check_offer(kind: str, name: str) -> PluginManager:
    """Raises ConfigError if nobody offers it, PluginError if it cannot be loaded."""
    manager = PluginManager.discover(log=make_logger("error"))
    offer = manager.offers(kind).get(name)
    if offer is None:
        place = IN_A_CHECKOUT.get((kind, name))
        remedy = f"in a checkout of Learnae: pip install -e {place}, and see its README" if place else _there_are(manager, kind)
        raise ConfigError(Problem(f"--{kind}", f'no {kind} is called "{name}"', remedy))
    offer.load()
    return manager


def _there_are(manager: PluginManager, kind: str) -> str:
    return f"there are: {', '.join(manager.offers(kind))}"


def check_choice(kind: str, table: Mapping[str, Any]) -> None:
    """Ask it about its surroundings, as a peer would use it. Raises ConfigError with all that keeps it from working, PluginError."""
    manager, findings = check_offer(kind, str(table["use"])), Findings()
    with tempfile.TemporaryDirectory(prefix="learnae-check-") as scratch:
        document = {"swarm": {"open": True}, kind: [dict(table)]}
        config = load_document(document, folder=Path(scratch), options_of=manager.options_of(Path(scratch)))
        trio.run(check_services, tuple(make_strategies(config, manager, Path(scratch), abandon=True).services()), findings)
    findings.problems.raise_any()
