"""What `learnae storage clear` does: all own roots of a peer leave its storages and its history."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from learnae.cli.clearing.holdings import Holding, drop_roots, find_roots
from learnae.cli.homes.find import HISTORY, find_home
from learnae.cli.homes.settings import settings_of
from learnae.cli.strategies import make_strategies
from learnae.errors import ConfigError, Problem, Unavailable
from learnae.identity.homes import Home, claim
from learnae.identity.keys import identity_in
from learnae.logs import make_logger
from learnae.node.history import History

if TYPE_CHECKING:
    from learnae.records import PeerId


@attrs.frozen
class ClearArguments:
    """The command line of `learnae storage clear`. `consent` raises where the user does not give it."""

    home: str | None
    consent: Callable[[str], None]
    debug: bool = attrs.field(default=False, kw_only=True)


def clear_storages(arguments: ClearArguments) -> Iterator[str]:
    """What is there, and what was dropped. Raises ConfigError where nothing can be, Unavailable when not all of it was."""
    with claim(find_home(arguments.home)) as home:
        holdings = _found(home, arguments)
        yield from _listed(home, holdings)
        if count := sum(len(holding.roots) for holding in holdings):
            arguments.consent(f"Drop {_roots(count)}?")
            _forget(home)  # before they go: what a crash leaves then is an orphan, and the next run drops it
            trio.run(drop_roots, holdings)
            yield from (f"{_roots(holding.dropped)} dropped from {holding.storage.label}" for holding in holdings if holding.roots)
    if failures := [f"{holding.storage.label}: {holding.failure}" for holding in holdings if holding.failure]:
        raise Unavailable(f"not everything could be reached and dropped: {'; '.join(failures)}")


def _found(home: Home, arguments: ClearArguments) -> list[Holding]:
    log = make_logger("debug" if arguments.debug else "error")
    try:
        config, manager = settings_of(home.path, arguments.home, ("storage",), log)
    except ConfigError as error:
        raise ConfigError(map(_why_the_key, error.problems)) from error
    return trio.run(find_roots, make_strategies(config, manager, home.path, _peer(home), abandon=True).storages)


def _peer(home: Home) -> PeerId:
    if (identity := identity_in(home.path)) is None:
        raise ConfigError(Problem(str(home.path), "has no key, so nothing shows which roots are this peer's", "name another home"))
    return identity.peer


def _why_the_key(problem: Problem) -> Problem:
    if not problem.key.startswith("swarm.key_"):
        return problem
    return attrs.evolve(problem, message=f"{problem.message}, and only with the key of a private swarm can this peer's roots be told")


def _listed(home: Home, holdings: Sequence[Holding]) -> Iterator[str]:
    yield f"{home.path}: this peer has"
    yield from (f"  {_state(holding)}" for holding in holdings)
    found = {root for holding in holdings for root in holding.roots}
    with History.read(home.path / HISTORY) as history:
        lost = [item for item in history.published() if item.root not in found]
    if lost and all(holding.failure is None for holding in holdings):
        yield f"Of the updates in its history, {len(lost)} are in none of them. Has the file another storage now, or the swarm another key?"


def _state(holding: Holding) -> str:
    name = holding.storage.label
    return f"{_roots(len(holding.roots))} in {name}" if holding.failure is None else f"{name} cannot be looked into: {holding.failure}"


def _forget(home: Home) -> None:
    with History.open(home.path / HISTORY) as history:
        for item in history.published():
            history.drop_published(item.number)


def _roots(count: int) -> str:
    return f"{count:,} root{'s' if count != 1 else ''}"
