"""What `learnae check` looks at. Nothing is started, and nothing is left behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnae.cli.check.findings import Findings
from learnae.cli.check.membership import membership
from learnae.cli.run.entry import find_entry
from learnae.config.folders import check_folder, default_home, existing
from learnae.config.load import disabled, load_document
from learnae.config.toml import read
from learnae.errors import LearnaeError, Problem
from learnae.identity.homes import Home, claim
from learnae.identity.keys import Identity
from learnae.plugins.manager import PluginManager
from learnae.records import MEGABYTE

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from learnae.config.tables import Config
    from learnae.node.assembly import Assembly, Named

LEAST_FREE_BYTES = 64 * MEGABYTE


def examine(file: Path, overrides: Sequence[str], log: FilteringBoundLogger) -> Findings:
    """Look at the file, its plugins, its strategies, its entry and its folders. Raises only for a file that cannot be read."""
    document, folder, findings = read(file), file.absolute().parent, Findings()
    with findings.problems.collected():
        manager = PluginManager.discover(disabled(document, overrides), log=log)
        config = _read(document, folder, overrides, manager, findings)
        if config is not None:
            _check_entry(config, findings)
            _check_home(config, findings)
            _check_disk(config, findings)
    return findings


def _read(document: Mapping[str, Any], folder: Path, overrides: Sequence[str], manager: PluginManager, findings: Findings) -> Config | None:
    """The whole config, or what of it can be read, so that the rest is looked at as well."""
    options_of = manager.options_of(folder)
    with findings.problems.collected():
        config = load_document(document, folder=folder, overrides=overrides, options_of=options_of)
        findings.passed.append(f"all keys of swarm {config.swarm.name!r}, and the plugins that they name")
        _check_strategies(config, manager, findings)
        return config
    sound = {}
    for name in ("swarm", "peer", "train"):
        table = {name: document[name]} if name in document else {}
        try:
            load_document(table, folder=folder, options_of=options_of)
            sound.update(table)
        except LearnaeError:
            continue
    return load_document(sound, folder=folder, options_of=options_of)


def _check_strategies(config: Config, manager: PluginManager, findings: Findings) -> None:
    """Make each of them once, and ask those that reach outside; where the file names no home that is there, in one that is thrown away."""
    import trio

    from learnae.cli.check.services import check_services
    from learnae.cli.strategies import make_strategies

    with tempfile.TemporaryDirectory(prefix="learnae-check-") as scratch:
        home = config.peer.home if config.peer.home is not None and config.peer.home.is_dir() else Path(scratch)
        made = make_strategies(config, manager, home, abandon=True)
        _name_all(config, made, findings)
        trio.run(check_services, tuple(made.services()), findings)


def _name_all(config: Config, made: Assembly, findings: Findings) -> None:
    findings.passed.append(membership(config, made))
    everything: list[Named[Any]] = [*made.storages, *made.announcers, made.selector, *made.gates, made.merge, made.codec]
    names = [one.name for one in (*everything, *([made.outer] if made.outer else []))]
    findings.passed.append(f"the strategies can be made: {', '.join(names)}")


def _check_entry(config: Config, findings: Findings) -> None:
    if config.train.entry is None:
        findings.passed.append("no [train] entry: this file is for learnae.join(), `learnae run` needs one")
        return
    with findings.problems.collected():
        find_entry(config.train.entry, config.folder)
        findings.passed.append(f"the entry {config.train.entry}")


def _check_home(config: Config, findings: Findings) -> None:
    home = config.peer.home
    with findings.problems.collected():
        if home is not None and home.exists():
            with claim(home) as ours:
                findings.passed.append(_key(ours))
            findings.passed.append(f"the home {home}: nobody else uses it")
        else:
            findings.passed.append(f"peer.home: {check_folder(home or default_home(config.swarm.name), 'peer.home')}")


def _key(home: Home) -> str:
    if not home.key_path.exists():
        return "the peer's key: made by the first run"
    return f"the peer's public key: {Identity.load_or_create(home.key_path).peer}"


def _check_disk(config: Config, findings: Findings) -> None:
    home = config.peer.home or default_home(config.swarm.name)
    free = shutil.disk_usage(existing(home)).free
    if free < LEAST_FREE_BYTES:
        findings.problems.found.append(Problem("peer.home", f"only {free // MEGABYTE} MiB are free at {home}", "make room, or move it"))
    else:
        findings.passed.append(
            f"{free // MEGABYTE:,} MiB are free at {home}; own updates take {config.peer.quota_bytes // MEGABYTE:,} at most"
        )
