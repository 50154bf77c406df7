"""Each strategy of a file, made by itself, so that one that cannot be made hides no other."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnae.cli.check.membership import membership
from learnae.cli.strategies import NOBODY, surroundings
from learnae.config.swarm_key import swarm_of
from learnae.node.assembly import Maker, Named, refuse_unguarded, told_apart
from learnae.strategies import Service

if TYPE_CHECKING:
    from learnae.cli.check.findings import Findings
    from learnae.config.tables import Choice, Config
    from learnae.plugins.manager import PluginManager


def check_strategies(config: Config, manager: PluginManager, findings: Findings) -> None:
    """Make each of them once, and ask those that reach outside; where the file names no home that is there, in one that is thrown away."""
    import trio

    from learnae.cli.check.services import check_services

    with tempfile.TemporaryDirectory(prefix="learnae-check-") as scratch:
        home = config.peer.home if config.peer.home is not None and os.path.isdir(config.peer.home) else Path(scratch)
        made = _made(config, manager, home, findings)
        services = [one for one in made if isinstance(one.strategy, Service)]
        _say_who_takes_part(config, services, findings)
        if made:
            findings.passed.append(f"the strategies can be made: {', '.join(one.name for one in made)}")
        trio.run(check_services, services, findings)


def _made(config: Config, manager: PluginManager, home: Path, findings: Findings) -> list[Named[Any]]:
    maker = Maker(config, manager, NOBODY, surroundings(config, manager, home, abandon=True), swarm_of(config.swarm))
    made: list[Named[Any]] = []
    for kind, key, choice in _choices(config):
        with findings.problems.collected(broken_at=f"{key}.use"):
            made.append(told_apart(maker.make(kind, choice), made))
    return made


def _choices(config: Config) -> Iterator[tuple[str, str, Choice]]:
    """Kind, where it stands in the file, and which it is."""
    for kind, choices in (("storage", config.storage), ("announcer", config.announcer), ("gate", config.gate)):
        yield from ((kind, kind if len(choices) == 1 else f"{kind}[{place}]", choice) for place, choice in enumerate(choices))
    single = (("selector", config.selector), ("merge", config.merge), ("outer", config.outer), ("codec", config.codec))
    yield from ((kind, kind, choice) for kind, choice in single if choice is not None)


def _say_who_takes_part(config: Config, services: list[Named[Any]], findings: Findings) -> None:
    """Not where the file's own words about that are wrong: then nobody knows."""
    if any(problem.key.removeprefix("--set ").startswith(("swarm", "peer.allow")) for problem in findings.problems.found):
        return
    swarm = swarm_of(config.swarm)
    with findings.problems.collected():
        refuse_unguarded(config, swarm, services)
        findings.passed.append(membership(config, swarm, services))
