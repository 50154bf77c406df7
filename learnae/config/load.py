"""A peer's file to a checked Config: strict, and with all problems at once."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from learnae.config.choices import KINDS, ChoiceReader, OptionsOf, table_of, with_defaults
from learnae.config.options import build, fields_of
from learnae.config.overrides import override
from learnae.config.problems import Problems, from_command_line, in_file_order, join_key
from learnae.config.rules import guarded, relaying, rests_on, settled, unrevealing, without_secrets
from learnae.config.sound import without
from learnae.config.tables import Config, JoinTable, PeerTable, SwarmTable
from learnae.config.toml import read
from learnae.config.words import did_you_mean
from learnae.errors import Problem

PLAIN = {name: hint for name, hint in typing.get_type_hints(Config).items() if name not in KINDS and attrs.has(hint)}
"""The tables that do not choose strategies, with their classes."""


def load(path: Path | None, *, name: str | None = None, overrides: Sequence[str] = (), options_of: OptionsOf) -> Config:
    """The config in a TOML file, or the defaults. `name` stands for `swarm.name`, `overrides` are texts of the form "key=value".

    Raises ConfigError with every problem, in the order of the file; PluginError if only a plugin is at fault.
    """
    if path is None:
        return load_document({}, folder=Path.cwd(), name=name, overrides=overrides, options_of=options_of)
    return load_document(read(path), folder=path.absolute().parent, name=name, overrides=overrides, options_of=options_of)


def load_document(
    document: Mapping[str, Any], *, folder: Path, name: str | None = None, overrides: Sequence[str] = (), options_of: OptionsOf
) -> Config:
    """As `load`, from what TOML or JSON gave; relative paths start at `folder`."""
    problems = Problems()
    complete, overridden = override(with_defaults(_named(document, name)), overrides, problems)
    values = _values(complete, folder.absolute(), options_of, problems)
    problems.raise_any(lambda found: _arranged(found, complete, overridden))
    return Config(folder=folder.absolute(), **values)


def load_what_can_be(
    document: Mapping[str, Any], *, folder: Path, overrides: Sequence[str] = (), options_of: OptionsOf
) -> tuple[Config, Problems]:
    """As `load_document`, but all that is wrong is returned, beside what the file says without it."""
    problems = Problems()
    complete, overridden = override(with_defaults(document), overrides, problems)
    sound: Mapping[str, Any] = complete
    bad: set[str] = set()
    while True:
        found = Problems()
        values = _values(sound, folder.absolute(), options_of, found)
        problems.found.extend(problem for problem in found.found if not rests_on(problem.key, bad))
        problems.broken.extend(found.broken)
        if not (found.found or found.broken):
            break
        keys = {problem.key for problem in (*found.found, *(problem for problem, _ in found.broken))}
        if keys <= bad:  # it is not in the file
            problems.raise_any()
        bad |= keys
        sound = with_defaults(without(sound, keys))
    problems.found[:] = _arranged(problems.found, complete, overridden)
    return Config(folder=folder.absolute(), **values), problems


def _arranged(found: Iterable[Problem], document: Mapping[str, Any], overridden: Sequence[str]) -> list[Problem]:
    return [unrevealing(from_command_line(problem, overridden)) for problem in in_file_order(found, document)]


def disabled(document: Mapping[str, Any], overrides: Sequence[str] = ()) -> tuple[str, ...]:
    """The plugins that are not to be loaded: needed before all else can be checked, and checked with all else."""
    plugins = override(document, overrides, Problems())[0].get("plugins", {})
    names = plugins.get("disable", ()) if isinstance(plugins, Mapping) else ()
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list | tuple) else ()


def _named(document: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
    swarm = document.get("swarm", {})
    return document if name is None or not isinstance(swarm, Mapping) else {**document, "swarm": {**swarm, "name": name}}


def _values(document: Mapping[str, Any], folder: Path, options_of: OptionsOf, problems: Problems) -> dict[str, Any]:
    """The fields of Config; complete if there are no problems."""
    choices = ChoiceReader(folder, options_of, problems)
    values: dict[str, Any] = {}
    for name, value in document.items():
        if name in KINDS:
            values[name] = choices.read(KINDS[name], value)
        elif name in PLAIN:
            with problems.collected():
                values[name] = _plain(name, table_of(value, name, name), folder, problems)
        else:
            problems.add(join_key("", name), "is not a table of this file", _home_of(name))
    if not (problems.found or problems.broken):  # a table that is missing for its problems is no reason for another one
        relaying(values.get("peer", PeerTable()), values["storage"], values["announcer"], problems)
    return values


def _plain(name: str, table: Mapping[str, Any], folder: Path, problems: Problems) -> Any:
    if name == "swarm":
        table = without_secrets(table, problems)
    built = build(PLAIN[name], table, name, folder)
    if isinstance(built, SwarmTable):
        return guarded(built, problems)
    return settled(built, problems, given="settle_seconds" in table) if isinstance(built, JoinTable) else built


def _home_of(name: str) -> str:
    """Where a key that stands outside of all tables belongs."""
    homes = [f"[{table}]" for table, cls in PLAIN.items() if name in fields_of(cls)]
    return f"it belongs in {' or '.join(homes)}" if homes else did_you_mean(name, [*PLAIN, *KINDS])
