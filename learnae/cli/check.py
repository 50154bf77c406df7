"""`learnae check`: finds everything that keeps a peer's file from running, without running it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
import trio

from learnae import kernels, opening
from learnae.cli import exit_codes, options
from learnae.cli.entries import READINGS_KEY, ROWS_KEY, find_entry
from learnae.config.folders import check_folder, default_home, existing, meeting_place
from learnae.config.load import disabled, load_document, load_what_can_be, override, read
from learnae.config.presets import in_words
from learnae.config.problems import Problems
from learnae.config.rules import swarm_of, what_leaves
from learnae.config.saved_config import code_in, programs_in, without_code
from learnae.config.tables import SERVING
from learnae.data.readings import ReadingFormat, declared
from learnae.errors import ConfigError, PluginError, Problem, UnavailableError
from learnae.identity.home_folder import open_home
from learnae.identity.homes import LOCK, Home, claim
from learnae.identity.keys import identity_in
from learnae.logs import make_logger
from learnae.node.history import History
from learnae.node.runtime import Runtime, SharedResources, in_worker_threads
from learnae.node.strategy_set import ConfiguredStrategy, StrategyFactory, StrategySet, assemble, budgets_of, refuse_unguarded, told_apart
from learnae.outlets import print_result
from learnae.plugins.hooks import BASES
from learnae.plugins.manager import PluginManager
from learnae.plugins.observers import find_observer
from learnae.plugins.observers.http_server import serving_http
from learnae.records import MEGABYTE, NOBODY, PeerId
from learnae.strategies import Service, Storage

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from learnae.config.tables import Choice, Config
    from learnae.identity.swarms import SwarmIdentity
    from learnae.node.services import ServiceStrategy
    from learnae.plugins.offers import StrategyOffer


CHECKOUT = Path(__file__).parents[2]  # where this is one


@attrs.define
class Findings:
    """What is fine, as short lines, what may be well, as doubts, and what is not, as problems."""

    passed: list[str] = attrs.field(factory=list)
    doubts: list[Problem] = attrs.field(factory=list)
    problems: Problems = attrs.field(factory=Problems)


def offered(manager: PluginManager, kind: str, name: str) -> StrategyOffer:
    """Find a strategy. Raises ConfigError if no plugin offers it, PluginError if it cannot be loaded."""
    offer = manager.offers(kind).get(name)
    if offer is None:
        told = "; ".join([f'no {kind} is called "{name}"', *map(str, manager.broken.values())])
        raise ConfigError(Problem(f"--{kind}", told, _in_a_checkout(manager, name) or f"there are: {', '.join(manager.offers(kind))}"))
    offer.load()
    return offer


def _in_a_checkout(manager: PluginManager, name: str) -> str | None:
    """What to install, if this runs in a checkout of Learnae with a plugin of this name that is not installed."""
    found = {file.parent.name for file in CHECKOUT.glob("plugins/*/pyproject.toml")}
    if name not in found or any(name in manager.offers(kind) for kind in BASES):
        return None
    return f"in a checkout of Learnae: pip install -e plugins/{name}, and see its README"


def check_choice(manager: PluginManager, kind: str, table: Mapping[str, Any]) -> None:
    """Let a strategy check what it needs outside. Raises ConfigError with all that keeps it from working, PluginError."""
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="learnae-check-") as scratch:
        document = {"swarm": {"open": True}, kind: [dict(table)]}
        config = load_document(document, folder=Path(scratch), options_of=manager.options_of(Path(scratch)))
        trio.run(check_services, tuple(make_strategies(config, manager, Path(scratch), abandon=True).services()), findings)
    findings.problems.raise_any()


def code_of(file: Path, overrides: Sequence[str]) -> list[str]:
    """The code and the programs that this file names. A check runs them. Raises ConfigError for a file that cannot be read."""
    document = override(read(file), overrides, Problems())[0]
    programs: list[str] = []
    with suppress(ConfigError, PluginError):  # `examine` tells it
        manager = PluginManager.discover(disabled(document, overrides), log=make_logger("error"), local=False)
        programs = programs_in(document, manager.options_of(file.absolute().parent))
    return [*code_in(document), *programs]


def examine(file: Path, overrides: Sequence[str], log: FilteringBoundLogger, *, code: bool = True) -> Findings:
    """Check the file, its plugins, its strategies, its entry and its folders. Each is checked even if another one is wrong.

    Without `code` it imports nothing from the file's folder, makes no strategy, asks nothing outside, and listens nowhere.
    Raises ConfigError only for a file that cannot be read.
    """
    document, folder, findings = read(file), file.absolute().parent, Findings()
    problems = findings.problems
    if not code:
        document, overrides = without_code(override(document, overrides, problems)[0]), ()
    with problems.collected():
        manager = PluginManager.discover(disabled(document, overrides), log=log, local=code)
        config, wrong = load_what_can_be(document, folder=folder, overrides=overrides, options_of=manager.options_of(folder))
        problems.found.extend(wrong.found)
        problems.broken.extend(wrong.broken)
        findings.passed.append(f"all keys of swarm {config.swarm.name!r}, and the plugins that they name")
        if not _is_wrong(findings, "peer.role"):
            findings.passed.append(f"the role: {config.peer.role}")
        for look in (_check_entry, check_home, check_disk, check_metrics) if code else (check_home, check_disk):
            with problems.collected():
                look(config, findings)
        if code:
            with problems.collected():
                check_strategies(config, manager, findings)
        elif not _is_wrong(findings, "swarm", "data"):
            findings.passed.append(what_leaves(config))
    return findings


def _check_entry(config: Config, findings: Findings) -> None:
    if config.peer.role == "sensor":
        _check_sensor(config, findings)
        return
    if config.data.entry is not None:
        with findings.problems.collected(broken_at=ROWS_KEY):
            find_entry(config.data.entry, config.folder, ROWS_KEY)
            findings.passed.append(f"the entry {config.data.entry}")
    if config.peer.role in SERVING:
        return
    if config.train.entry is None:
        findings.passed.append("no [train] entry: this file is for learnae.join(), `learnae run` needs one")
        return
    with findings.problems.collected(broken_at="train.entry"):
        find_entry(config.train.entry, config.folder)
        findings.passed.append(f"the entry {config.train.entry}")


def _check_sensor(config: Config, findings: Findings) -> None:
    packing = ReadingFormat(declared(config.sensor.columns, config.sensor.label), config.data.licence, config.data.source)
    findings.passed.append(f"a reading has {packing.reading_bytes} bytes in a message, beside the words of its texts")
    if config.sensor.entry is None:
        findings.passed.append("no [sensor] entry: `learnae run` reads lines from standard input")
        return
    with findings.problems.collected(broken_at=READINGS_KEY):
        find_entry(config.sensor.entry, config.folder, READINGS_KEY)
        findings.passed.append(f"the entry {config.sensor.entry}")


LEAST_FREE_BYTES = 64 * MEGABYTE
KEY = "peer.home"


def check_home(config: Config, findings: Findings) -> None:
    """Check the home. The home of a peer that has run is locked for a moment, so that nothing else uses it. Raises ConfigError."""
    home = config.peer.home
    said = check_folder(home or default_home(config.swarm.name), KEY, shared=False)
    if home is None or not os.path.exists(home):
        findings.passed.append(f"{KEY}: {said}")
        return
    with open_home(home):
        pass
    for look in (_check_key, _check_history, _check_lock):
        with findings.problems.collected():
            findings.passed.extend(look(Home(home, lock_fd=-1)))


def check_disk(config: Config, findings: Findings) -> None:
    """Raises ConfigError if hardly any space is free."""
    home = config.peer.home or default_home(config.swarm.name)
    try:
        free = shutil.disk_usage(existing(home)).free
    except OSError:  # what keeps us out keeps the peer out, and is told already
        return
    if free < LEAST_FREE_BYTES:
        raise ConfigError(Problem(KEY, f"only {free // MEGABYTE} MiB are free at {home}", "make room, or move it"))
    quota = config.peer.quota_bytes // MEGABYTE
    whose = "those of others" if config.peer.role == "keeper" else "own updates"
    findings.passed.append(f"{free // MEGABYTE:,} MiB are free at {home}; {whose} take {quota:,} at most")


def _check_key(home: Home) -> Iterator[str]:
    if (identity := identity_in(home.path)) is None:
        yield "the peer's key: made by the first run"
    else:
        yield f"the peer's public key: {identity.peer}"


def _check_history(home: Home) -> Iterator[str]:
    """Raises ConfigError for a history that is damaged, or that a newer version has written."""
    if opening.look(home.history_path) is not None:
        with History.read(home.history_path) as history:
            yield f"its history: {history.last_round():,} rounds"


def _check_lock(home: Home) -> Iterator[str]:
    """Check the lock of a home. If there is no lock file yet, none is made."""
    if opening.look(home.path / LOCK) is not None:
        claim(home.path).close()
    yield f"the home {home.path}: nobody else uses it"


def membership(config: Config, swarm: SwarmIdentity, services: Iterable[ConfiguredStrategy[Any]]) -> str:
    """Who may take part: a line for one of four kinds.

    These are private, an allow list, open by consent, open to this machine's folders.
    """
    named = f"swarm {config.swarm.name!r} is"
    if swarm.key is not None:
        place = config.swarm.key_env or config.swarm.key_file
        return f"{named} private: the key in {place} is sound, its members show the fingerprint {fingerprint(swarm)}{_heard(config)}"
    if config.peer.allow:
        return f"{named} not private: its messages and models can be read by whoever reaches them{_heard(config)}"
    if any(service.strategy.leaves_machine for service in services):
        return f"{named} open, as swarm.open says: whoever comes takes part, and can read all of it"
    return f"{named} open to whoever can write to its folders: nothing of it leaves this machine by itself"


def fingerprint(swarm: SwarmIdentity) -> str:
    """A text that is equal if name and key of two swarms are equal. It reveals neither."""
    digits = swarm.channel[:16]
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def _heard(config: Config) -> str:
    count = len(config.peer.allow)
    return f"; heard {'is' if count == 1 else 'are'} the {count} of peer.allow" if count else ""


def check_metrics(config: Config, findings: Findings) -> None:
    """Check the metrics. The address is listened at for a moment."""
    if (address := config.metrics.prometheus) is not None:
        with findings.problems.collected():
            find_observer("prometheus", "serving")
            with serving_http(address, _silent, "metrics.prometheus"):
                findings.passed.append(f"metrics.prometheus: {address} is free")
    if (folder := config.metrics.tensorboard) is not None:
        with findings.problems.collected():
            find_observer("tensorboard", "writing")
            findings.passed.append(f"metrics.tensorboard: {check_folder(folder, 'metrics.tensorboard', shared=False)}")


def _silent(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Nobody asks it anything."""
    return []


CHECK_SECONDS = 20.0


async def check_services(services: Iterable[ServiceStrategy], findings: Findings) -> None:
    """Let each service check itself. What a service raises becomes a problem, and the next one is asked."""
    for service in services:
        with trio.move_on_after(CHECK_SECONDS) as limit:
            await _check(service, findings)
        if limit.cancelled_caught:
            message = f"found nothing out about its surroundings within {CHECK_SECONDS:.0f} s"
            findings.problems.add(service.label, message, "see that what it needs can be reached, and answers")


async def _check(service: ServiceStrategy, findings: Findings) -> None:
    with findings.problems.collected():
        try:
            with service.calling(
                f"checking the surroundings of {service.label}", within=CHECK_SECONDS, ours=(UnavailableError, ConfigError)
            ):
                found = list(await service.strategy.check())
                findings.passed.extend(f"{service.label}: {line}" for line in found if not isinstance(line, Problem))
                findings.doubts.extend(line for line in found if isinstance(line, Problem))
        except UnavailableError as error:
            findings.problems.add(service.label, str(error), "wait for it, or see that it can be reached")


def make_strategies(config: Config, manager: PluginManager, home: Path, peer: PeerId = NOBODY, *, abandon: bool = False) -> StrategySet:
    """They make nothing where a home, perhaps a gift, says so. With `abandon`, whoever is cut off does not wait for a thread that
    hangs. Raises ConfigError, PluginError.
    """
    return assemble(config, manager, peer, runtime_of(config, manager, home, abandon=abandon, existing_only=True))


def runtime_of(config: Config, manager: PluginManager, home: Path, *, abandon: bool = False, existing_only: bool = False) -> Runtime:
    """That of a command. Raises ConfigError for a swarm whose key cannot be had."""
    threads = partial(in_worker_threads, abandon=abandon)
    in_thread = threads()
    return Runtime(
        home=home,
        meeting=meeting_place(swarm_of(config.swarm)),
        clock=time.monotonic,
        seed=0,
        in_thread=in_thread,
        in_watcher_thread=in_thread,
        threads=threads,
        share=SharedResources(),
        log=manager.log,
        existing_only=existing_only,
    )


def check_strategies(config: Config, manager: PluginManager, findings: Findings) -> None:
    """Make each strategy once, and let services check themselves. If the home is not there, a temporary one is used."""
    import trio

    with tempfile.TemporaryDirectory(prefix="learnae-check-") as scratch:
        home = config.peer.home if config.peer.home is not None and os.path.isdir(config.peer.home) else Path(scratch)
        made = _made(config, manager, home, findings)
        services = [one for one in made if isinstance(one.strategy, Service)]
        _say_who_takes_part(config, services, findings)
        findings.passed.extend([*in_words(config), kernels.in_words()])
        if made:
            findings.passed.append(f"the strategies can be made: {', '.join(one.name for one in made)}")
        _say_who_keeps_no_budget(config, services, findings)
        trio.run(check_services, services, findings)


def _say_who_keeps_no_budget(config: Config, services: Iterable[ServiceStrategy], findings: Findings) -> None:
    named = [f"peer.{name}" for name, bound in attrs.asdict(budgets_of(config.peer)).items() if bound is not None]
    careless = [one.label for one in services if isinstance(one.strategy, Storage) and not one.strategy.keeps_budgets]
    if named and careless:
        message = f"not kept by {', '.join(careless)}: what these move is not counted"
        findings.doubts.append(Problem(", ".join(named), message, "their pages say how they are bounded, if they are"))


def _made(config: Config, manager: PluginManager, home: Path, findings: Findings) -> list[ConfiguredStrategy[Any]]:
    maker = StrategyFactory(config, manager, NOBODY, runtime_of(config, manager, home, abandon=True), swarm_of(config.swarm))
    made: list[ConfiguredStrategy[Any]] = []
    for kind, key, choice in _choices(config):
        with findings.problems.collected(broken_at=f"{key}.use"):
            made.append(told_apart(maker.make(kind, choice), made))
    return made


def _choices(config: Config) -> Iterator[tuple[str, str, Choice]]:
    """Kind, where it stands in the file, and which it is: of those that this peer makes."""
    if config.peer.role == "sensor":
        yield from (("announcer", f"announcer[{place}]", choice) for place, choice in enumerate(config.announcer))
        return
    for kind, choices in (("storage", config.storage), ("announcer", config.announcer), ("gate", config.gate)):
        yield from ((kind, kind if len(choices) == 1 else f"{kind}[{place}]", choice) for place, choice in enumerate(choices))
    single = (("selector", config.selector), ("merge", config.merge), ("outer", config.outer), ("codec", config.codec))
    yield from ((kind, kind, choice) for kind, choice in single if choice is not None)


def _say_who_takes_part(config: Config, services: list[ConfiguredStrategy[Any]], findings: Findings) -> None:
    """Not where the file's own words about that are wrong: then nobody knows."""
    if _is_wrong(findings, "swarm", "peer.allow", "data"):
        return
    swarm = swarm_of(config.swarm)
    with findings.problems.collected():
        refuse_unguarded(config, swarm, services)
        findings.passed.append(membership(config, swarm, services))
        folders_only = not any(service.strategy.leaves_machine for service in services)
        findings.passed.append(what_leaves(config, folders_only=folders_only))


def _is_wrong(findings: Findings, *keys: str) -> bool:
    return any(problem.key.removeprefix("--set ").startswith(keys) for problem in findings.problems.found)


@click.command()
@options.peer_file
@options.overrides
@click.option("--no-code", is_flag=True, help="Import and start nothing that FILE names, and ask nobody: for a file that is not yours.")
@options.debug
def check(file: Path, overrides: Sequence[str], no_code: bool, debug: bool) -> None:
    """Look for everything that could keep FILE from running, without running it. Show all problems at once.

    A peer's file is a program: this command imports the code and starts the programs that it names. Without FILE it is learnae.toml in
    this folder.
    """

    code = code_of(file, overrides)
    if code and not no_code:
        named = f"what it names in {file.absolute().parent} is imported or started now, {', '.join(code)}"
        print_result(f"{file} is a program: {named}; --no-code leaves it out")
    findings = examine(file, overrides, make_logger("debug" if debug else ""), code=not no_code)
    if len(findings.problems.broken) > 1:  # an error of one plugin would hide those of the others
        raise click.exceptions.Exit(exit_codes.say_all(findings.problems))
    findings.problems.raise_any()
    if no_code:
        left = f"left out: strategies, storages, announcers and metrics{''.join(f', {one}' for one in code)}"
        print_result(*(f"ok  {what}" for what in findings.passed), left, f"{file} is sound as far as it was looked at.")
    else:
        doubts = [f"warning  {doubt}" for doubt in findings.doubts]
        print_result(*(f"ok  {what}" for what in findings.passed), *doubts, f"{file} can be run.")
