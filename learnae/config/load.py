"""Loads a peer's file into a checked Config: strict, and with all problems at once.

It may be somebody else's, who wants to hold a command up: the reader of TOML takes time with the square of the length of a dotted key.
"""

from __future__ import annotations

import copy
import errno
import os
import re
import stat
import tomllib
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from learnae.config import presets
from learnae.config.options import (
    KINDS,
    ChoiceReader,
    OptionsOf,
    build,
    fields_of,
    table_of,
    unread,
    with_defaults,
)
from learnae.config.problems import DEEPEST, Problems, are_small, check_bounds, from_command_line, in_file_order, is_shallow, join_key
from learnae.config.rules import (
    IDLE,
    consented,
    guarded,
    keeping,
    played,
    providing,
    relaying,
    rests_on,
    sensing,
    settled,
    unrevealing,
    without_secrets,
)
from learnae.config.tables import Config, DataTable, JoinTable, PeerTable, SensorTable, SwarmTable
from learnae.config.words import did_you_mean, one_of, show
from learnae.errors import ConfigError, Problem
from learnae.opening import read_some
from learnae.records import MEGABYTE
from learnae.texts import in_shell

MOST_BYTES = MEGABYTE  # a thousand keys of peers are 70 kB
_MOST_STEPS = 10_000_000  # of the reader from one part of a dotted key to the next: about a second


def read(path: Path, *, named: bool = True) -> dict[str, Any]:
    """The document in a file. Raises ConfigError that says what to do about a file that cannot be read.

    One that was not `named` by its user is only read if it is a plain file: nothing else that lies there is waited for. It may be reached
    by a link, as the files of a volume of Kubernetes are.
    """
    text = _text(path, named=named)
    if _steps(text) > _MOST_STEPS:
        raise ConfigError(Problem(str(path), "has keys with too many dots", "a key has two or three parts"))
    try:
        document = tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(Problem(str(path), "is nested too deeply")) from error
    except ValueError as error:
        raise ConfigError(Problem(str(path), f"is not valid TOML: {error}", "text stands in quotes, tables in [brackets]")) from error
    check_bounds(document, path)
    return document


def _steps(text: str) -> int:
    """At most so many: a key stands in one line, below the table that a line before has opened. Not all dots are of keys."""
    steps, table = 0, 0
    for line in text.split("\n"):
        dots = line.count(".")
        steps += dots * (dots + table)
        if line.lstrip().startswith("["):
            table = max(table, dots)
    return steps + table * text.count("=")


def _text(path: Path, *, named: bool) -> str:
    try:
        return _bytes(path, named=named).decode("utf-8-sig")  # editors on Windows begin files with a mark
    except FileNotFoundError as error:
        raise ConfigError(Problem(str(path), "there is no such file", "check the path; the README shows a first one")) from error
    except IsADirectoryError as error:
        raise ConfigError(Problem(str(path), "is a folder", f"name the file in it, such as {path / 'learnae.toml'}")) from error
    except PermissionError as error:
        raise ConfigError(Problem(str(path), "may not be read by this user", f"chmod u+r {in_shell(path)}")) from error
    except UnicodeDecodeError as error:
        raise ConfigError(Problem(str(path), f"is not UTF-8 text (byte {error.start})", "save it as UTF-8")) from error
    except (OSError, ValueError) as error:
        raise ConfigError(Problem(str(path), f"cannot be read: {error}")) from error


def _bytes(path: Path, *, named: bool) -> bytes:
    if not named:
        _check_plain(os.stat(path).st_mode)  # to open a device may do something already
    with os.fdopen(os.open(path, os.O_RDONLY | (0 if named else os.O_NONBLOCK | os.O_NOCTTY)), "rb") as file:
        if not named:
            _check_plain(os.fstat(file.fileno()).st_mode)
        content = read_some(file, MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES:,} bytes")
    return content


def _check_plain(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no plain file")


def without(document: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """A copy without these keys: of one that is missing the table is left out, of a strategy that there is not all that belongs to it."""
    there = set(_keys("", document))
    bad = {_nearest(key.removesuffix(".use"), there) for key in keys}
    return {} if "" in bad else _pruned("", document, bad)


def _nearest(key: str, there: Collection[str]) -> str:
    """The key itself, or what it would stand in."""
    while key and key not in there:
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return key


def _pruned(key: str, value: Any, bad: Collection[str]) -> Any:
    if isinstance(value, Mapping):
        inner = {name: join_key(key, name) for name in value}
        left = {name: _pruned(inner[name], item, bad) for name, item in value.items() if inner[name] not in bad}
        return {name: item for name, item in left.items() if item != [] or value[name] in ([], ())}  # an empty list may mean more than none
    if isinstance(value, list | tuple):
        return [_pruned(f"{key}[{place}]", item, bad) for place, item in enumerate(value) if f"{key}[{place}]" not in bad]
    return value


def _keys(key: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [key, *(found for name, item in value.items() for found in _keys(join_key(key, name), item))]
    if isinstance(value, list | tuple):
        return [key, *(found for place, item in enumerate(value) for found in _keys(f"{key}[{place}]", item))]
    return [key]


_STEP = re.compile(r"([A-Za-z0-9_-]+)(?:\[(\d{1,6})\])?")

Step = tuple[str, int | None]


def override(document: Mapping[str, Any], overrides: Sequence[str], problems: Problems) -> tuple[dict[str, Any], list[str]]:
    """A copy of the document with these keys set, and the full keys that were."""
    changed, keys = copy.deepcopy(dict(document)), []
    for text in overrides:
        with problems.collected():
            steps, value = _parse(text)
            keys.append(_assign(changed, steps, value, f"--set {text}"))
    return changed, keys


def _parse(text: str) -> tuple[list[Step], Any]:
    key, equals, value = text.partition("=")
    steps = [_STEP.fullmatch(step) for step in key.strip().split(".")]
    if not equals or not all(steps) or len(steps) > DEEPEST:
        raise ConfigError(Problem(f"--set {text}", "is not of the form key=value", "such as train.local_steps=50"))
    return [(step[1], int(step[2]) if step[2] else None) for step in steps if step], _value(value.strip())


def _value(text: str) -> Any:
    """A TOML value, or the text itself where it is none: `--set merge.use=average` needs no quotes."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 and is_shallow(parsed) and are_small(parsed) else text


def _assign(document: dict[str, Any], steps: Sequence[Step], value: Any, said: str) -> str:
    *tables, (name, index) = steps
    place, key = document, ""
    for step in tables:
        place, key = _enter(place, key, step, said)
    key = join_key(key, name)
    if index is None:
        place[name] = value
        return key
    items = _items(place, name, index, key, said)
    items[index : index + 1] = [value]
    return f"{key}[{index}]"


def _enter(table: dict[str, Any], key: str, step: Step, said: str) -> tuple[dict[str, Any], str]:
    """The table that the step names, made if it is the next one, and its full key. The only one of a list needs no index."""
    name, index = step
    key, found = join_key(key, name), table.setdefault(name, {})
    if isinstance(found, dict) and not index:
        return found, key
    items = _items(table, name, index or 0, key, said)
    if index is None and len(items) != 1:
        raise ConfigError(Problem(said, f"{key} has {len(items)} entries", f"name one, such as {key}[0]"))
    index = index or 0
    if index == len(items):
        items.append({})
    if not isinstance(items[index], dict):
        raise ConfigError(Problem(said, f"{key} is no list of tables"))
    return items[index], f"{key}[{index}]"


def _items(table: dict[str, Any], name: str, index: int, key: str, said: str) -> list[Any]:
    """The list under `name`, with room for `index`; a table that stands alone becomes a list of one."""
    found = table.setdefault(name, [])
    if not isinstance(found, dict | list | tuple):
        raise ConfigError(Problem(said, f"{key} is no table and no list, but {show(found)}"))
    items = table[name] = [found] if isinstance(found, dict) else list(found)
    if index > len(items):
        raise ConfigError(Problem(said, f"{key} has only {len(items)} entries", f"the next one is {key}[{len(items)}]"))
    return items


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
    complete, overridden = override(with_defaults(presets.said(_named(document, name), overrides)), overrides, problems)
    config = _what_can_be(complete, overridden, folder.absolute(), options_of, problems)
    problems.raise_any(lambda found: _arranged(found, complete, overridden))
    return config


def load_what_can_be(
    document: Mapping[str, Any], *, folder: Path, overrides: Sequence[str] = (), options_of: OptionsOf
) -> tuple[Config, Problems]:
    """As `load_document`, but all that is wrong is returned, beside what the file says without it."""
    problems = Problems()
    complete, overridden = override(with_defaults(presets.said(document, overrides)), overrides, problems)
    config = _what_can_be(complete, overridden, folder.absolute(), options_of, problems)
    problems.found[:] = _arranged(problems.found, complete, overridden)
    return config, problems


def _what_can_be(complete: Mapping[str, Any], overridden: Sequence[str], folder: Path, options_of: OptionsOf, problems: Problems) -> Config:
    """What is left without what is wrong: a rule across several keys is judged once all that it looks at is sound."""
    sound, bad = complete, set[str]()
    while True:
        found = Problems()
        values = _values(sound, folder, options_of, found)
        problems.found.extend(one for one in found.found if one not in problems.found and not rests_on(one.key, bad))
        problems.broken.extend(found.broken)
        if not (found.found or found.broken):
            break
        keys = {problem.key for problem in (*found.found, *(problem for problem, _ in found.broken))}
        if keys <= bad:  # it is not in the file
            problems.raise_any(lambda found: _arranged(found, complete, overridden))
        bad |= keys
        sound = with_defaults(without(sound, keys))
    return Config(folder=folder, **values)


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
    choices, values = ChoiceReader(folder, options_of, problems), dict[str, Any]()
    for name, value in document.items():
        if name in KINDS and _is_idle(name, document):
            values[name] = unread(KINDS[name])
        elif name in KINDS:
            values[name] = choices.read(KINDS[name], value)
        elif name in PLAIN:
            with problems.collected():
                values[name] = _plain(name, table_of(value, name, name), folder, problems)
        elif name == presets.KEY:
            _check_preset(value, problems)
            values[name] = value
        else:
            problems.add(join_key("", name), "is not a table of this file", _home_of(name))
    if not (problems.found or problems.broken):  # a table that is missing for its problems is no reason for another one
        peer, data, swarm = values.get("peer", PeerTable()), values.get("data", DataTable()), values.get("swarm", SwarmTable())
        relaying(peer, values["storage"], values["announcer"], problems)
        played(peer, _given(document, values, choices), problems)
        providing(peer, data, problems)
        keeping(peer, data, problems)
        consented(data, swarm, problems)
        sensing(peer.role, values.get("sensor", SensorTable()), data, swarm, problems)
    return values


def _given(document: Mapping[str, Any], values: Mapping[str, Any], choices: ChoiceReader) -> list[str]:
    """The tables that say anything but the defaults: a node is sent all of them."""
    defaults = _defaults(document)
    said = [name for name in values if document[name] != defaults.get(name)]
    return [name for name in said if values[name] != (PLAIN[name]() if name in PLAIN else _usual(name, defaults, choices))]


def _defaults(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a file would say that says nothing, or its preset alone."""
    return with_defaults({name: value for name, value in document.items() if name == presets.KEY})


def _usual(name: str, defaults: Mapping[str, Any], choices: ChoiceReader) -> Any:
    return choices.read(KINDS[name], defaults[name]) if name in KINDS and name in defaults else None


def _is_idle(name: str, document: Mapping[str, Any]) -> bool:
    """Whether this peer never makes the strategies that stand there by default: a small device does not import them either."""
    peer = document.get("peer")
    senses = isinstance(peer, Mapping) and peer.get("role") == "sensor"
    return senses and name in IDLE["sensor"] and document[name] == _defaults(document).get(name)


def _plain(name: str, table: Mapping[str, Any], folder: Path, problems: Problems) -> Any:
    if name == "swarm":
        table = without_secrets(table, problems)
    built = build(PLAIN[name], table, name, folder)
    if isinstance(built, SwarmTable):
        return guarded(built, problems)
    return settled(built, problems, given="settle_seconds" in table) if isinstance(built, JoinTable) else built


def _check_preset(value: Any, problems: Problems) -> None:
    if not isinstance(value, str) or value not in presets.PRESETS:
        near = did_you_mean(value, presets.PRESETS) if isinstance(value, str) else ""
        problems.add(presets.KEY, f"must be {one_of(presets.PRESETS)}, not {show(value)}", near)


def _home_of(name: str) -> str:
    """Where a key that stands outside of all tables belongs."""
    homes = [f"[{table}]" for table, cls in PLAIN.items() if name in fields_of(cls)]
    return f"it belongs in {' or '.join(homes)}" if homes else did_you_mean(name, [*PLAIN, *KINDS, presets.KEY])
