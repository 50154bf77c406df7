"""`learnae storage clear`: drops what a peer has published from its storages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import attrs
import click
import trio

from learnae.cli import options
from learnae.cli.check import make_strategies
from learnae.cli.homes import HISTORY, find_home, settings_of
from learnae.cli.options import on_terminal
from learnae.errors import ConfigError, LearnaeError, Problem, UnavailableError
from learnae.identity.homes import Home, claim
from learnae.identity.keys import identity_in
from learnae.logs import make_logger
from learnae.node.blocking import CLOSE_SECONDS
from learnae.node.history import History
from learnae.node.services import OPEN_SECONDS
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.outlets import print_result
from learnae.records import Cid
from learnae.strategies import Storage
from learnae.texts import harmless

if TYPE_CHECKING:
    from learnae.records import PeerId


LIST_SECONDS = 60.0
DROP_SECONDS = 30.0  # for each root


@attrs.define
class Holding:
    """What one storage has of this peer, and what has become of it; `failure` is why not all of it could be told, or dropped."""

    storage: ConfiguredStrategy[Storage]
    roots: tuple[Cid, ...] = ()
    dropped: int = 0
    failure: str | None = None


async def find_roots(storages: Iterable[ConfiguredStrategy[Storage]]) -> list[Holding]:
    """One for each storage."""
    holdings = [Holding(storage) for storage in storages]
    for holding in holdings:
        await _in_it(holding, _find)
    return holdings


async def drop_roots(holdings: Iterable[Holding]) -> None:
    """All that was found."""
    for holding in holdings:
        if holding.roots:
            await _in_it(holding, _drop)


async def _find(holding: Holding, limit: trio.CancelScope) -> None:
    limit.deadline = trio.current_time() + LIST_SECONDS
    holding.roots = tuple(await holding.storage.strategy.roots())


async def _drop(holding: Holding, limit: trio.CancelScope) -> None:
    for root in holding.roots:
        limit.deadline = trio.current_time() + DROP_SECONDS
        await holding.storage.strategy.drop(root)
        holding.dropped += 1
    limit.deadline = trio.current_time() + LIST_SECONDS
    if left := {*holding.roots} & {*await holding.storage.strategy.roots()}:
        holding.dropped -= len(left)
        holding.failure = f"{len(left)} of its roots are still there after they were dropped"


async def _in_it(holding: Holding, work: Callable[[Holding, trio.CancelScope], Awaitable[None]]) -> None:
    storage = holding.storage
    limit = trio.CancelScope(deadline=trio.current_time() + OPEN_SECONDS)
    try:
        with limit, storage.calling(f"looking after the own roots in {storage.label}", ours=(LearnaeError,)):
            async with storage.strategy:
                await work(holding, limit)
                limit.deadline = trio.current_time() + CLOSE_SECONDS
    except LearnaeError as error:
        holding.failure = str(error)
    if limit.cancelled_caught:
        holding.failure = "it did not answer in time"


@attrs.frozen
class ClearArguments:
    """The command line of `learnae storage clear`. `consent` raises where the user does not give it."""

    home: str | None
    consent: Callable[[str], None]
    debug: bool = attrs.field(default=False, kw_only=True)


def clear_storages(arguments: ClearArguments) -> Iterator[str]:
    """What is there, and what was dropped. Raises ConfigError where nothing can be, UnavailableError when not all of it was."""
    with claim(find_home(arguments.home)) as home:
        holdings = _found(home, arguments)
        yield from _listed(home, holdings)
        if count := sum(len(holding.roots) for holding in holdings):
            arguments.consent(f"Drop {_roots(count)}?")
            _forget(home)  # before they go: what a crash leaves then is an orphan, and the next run drops it
            trio.run(drop_roots, holdings)
            yield from (f"{_roots(holding.dropped)} dropped from {holding.storage.label}" for holding in holdings if holding.roots)
    if failures := [f"{holding.storage.label}: {holding.failure}" for holding in holdings if holding.failure]:
        raise UnavailableError(f"not everything could be reached and dropped: {'; '.join(failures)}")


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
        history.drop_all_published()


def _roots(count: int) -> str:
    return f"{count:,} root{'s' if count != 1 else ''}"


@click.group()
def storage() -> None:
    """Manage what a peer keeps in its storages, while the peer does not run."""


@storage.command(short_help="Drop all that a peer has published from its storages.")
@options.home
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.debug
def clear(home: str | None, yes: bool, debug: bool) -> None:
    """Drop all own updates of the peer in HOME from all storages of its file. First it shows how many there are. Those of others stay.

    The peer's key, its numbers, its checkpoints and what it knows of others stay too. It can run again, and then publishes anew. A private
    swarm needs its key for this, as for a run. HOME is a peer's folder or its TOML file. Without HOME it is learnae.toml in this folder, or
    else the home under the state folder. Code runs only if you name a TOML file. With a home, no code runs, and no other machine is asked.
    """
    for line in clear_storages(ClearArguments(home, lambda question: _ask(question, yes=yes), debug=debug)):
        print_result(line)


def _ask(question: str, *, yes: bool) -> None:
    from learnae.errors import ConfigError, Problem

    if yes:
        return
    if not on_terminal("stdin"):
        raise ConfigError(Problem("--yes", "is needed where nobody can be asked: this is no terminal", "add it if all of that is to go"))
    click.confirm(harmless(question), abort=True, err=True)
