"""A Config as plain data, the file of a peer as its home keeps it, and the code that a file names."""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from learnae import opening
from learnae.config import problems
from learnae.config.options import KINDS, OptionsOf, fields_of
from learnae.config.presets import NO_OUTER
from learnae.config.tables import PROGRAM, Choice, Config
from learnae.config.words import show
from learnae.errors import ConfigError, PluginError, Problem
from learnae.identity.home_folder import open_home
from learnae.records import MEGABYTE


def dump(config: Config) -> dict[str, Any]:
    """The document that stands for `config`, all but its folder. Raises PluginError for an option that JSON cannot carry."""
    document = {
        name: _plain(getattr(config, name), name) for name in fields_of(Config) if name != "folder" and getattr(config, name) is not None
    }
    return document if "outer" in document else {**document, "outer": dict(NO_OUTER)}


def _plain(value: Any, key: str) -> Any:
    if isinstance(value, Choice):
        return {**_table(value, key, leave="options"), **({} if value.options is None else _table(value.options, key))}
    if attrs.has(type(value)):
        return _table(value, key)
    if isinstance(value, enum.Enum):
        return value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item, f"{key}[{index}]") for index, item in enumerate(value)]
    raise PluginError(key, "sending its options to the node", f"{type(value).__name__} is neither text, number, path, list nor table")


def _table(value: Any, key: str, leave: str = "") -> dict[str, Any]:
    fields = {name: field for name, field in fields_of(type(value)).items() if name != leave}
    present = {name: getattr(value, field.name) for name, field in fields.items()}
    return {name: _plain(item, f"{key}.{name}") for name, item in present.items() if item is not None or fields[name].default is not None}


FILE = "config.json"
MOST_BYTES = 4 * MEGABYTE
MOST_KEYS = 4 * problems.MOST_KEYS  # what a file leaves out stands here


@attrs.frozen
class KeptFile:
    """A document as `load_document` takes it; relative paths start at `folder`."""

    document: Mapping[str, Any]
    folder: Path

    def table(self, name: str) -> Mapping[str, Any]:
        """What stands there; empty for a table that is not."""
        table = self.document.get(name, {})
        return table if isinstance(table, Mapping) else {}


def keep(config: Config, home: Path) -> None:
    """Whole or not at all. There are no secrets in it. Raises OSError, ConfigError for a home that is not the user's own."""
    text = json.dumps({"folder": str(config.folder), "config": dump(config)}, indent=2) + "\n"
    with open_home(home) as folder:
        opening.replace_file(FILE, text.encode(), at=folder.fd)


def kept(home: Path) -> KeptFile | None:
    """None where no peer has run yet. Raises ConfigError for a file that is damaged."""
    path = home / FILE
    try:
        with open_home(home, looking=True) as folder:
            content = json.loads(folder.read(FILE, MOST_BYTES, links=None))  # never written in place, so a backup may share it
        found = KeptFile(dict(content["config"]), _absolute(content["folder"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(Problem(str(path), f"cannot be read: {error}", "start this peer once: it is written anew")) from error
    problems.check_bounds(found.document, path, MOST_KEYS)
    return found


def _absolute(text: str) -> Path:
    if not os.path.isabs(text) or "\0" in text:
        raise ValueError("its folder is no whole path")
    return Path(text)


MARK = ":"
_WITH_ENTRIES = ("train", "data", "sensor")  # tables with a function of the user


def code_in(document: Mapping[str, Any]) -> list[str]:
    """Each place that names code, and which, such as `merge.use = "my_file:MyMerge"`."""
    named = [f'{kind}.use = "{table["use"]}"' for kind in KINDS for table in _tables(document.get(kind)) if _is_code(table)]
    for name in _WITH_ENTRIES:
        table = document.get(name)
        entry = table.get("entry") if isinstance(table, Mapping) else None
        named += [f'{name}.entry = "{entry}"'] if isinstance(entry, str) else []
    return named


def programs_in(document: Mapping[str, Any], options_of: OptionsOf) -> list[str]:
    """Each option that names a program which its strategy starts, and which, such as `storage.program = "./kubo"`.

    A strategy that is code of the file, or that cannot be loaded, is left out: `code_in` names the one, the reader of the file the other.
    """
    named: list[str] = []
    for kind in KINDS:
        for table in _tables(document.get(kind)):
            use = table.get("use")
            if isinstance(use, str) and MARK not in use:
                with suppress(ConfigError, PluginError):
                    programs = [name for name, field in fields_of(options_of(kind, use)).items() if field.metadata.get(PROGRAM)]
                    named.extend(f"{kind}.{name} = {show(table[name])}" for name in programs if name in table)
    return named


def without_code(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without all that names code which is imported where it is read. `learnae run` alone imports `data.entry`."""
    kept = dict(document)
    for kind in KINDS:
        if any(map(_is_code, _tables(kept.get(kind)))):
            rest = [table for table in _tables(kept.pop(kind)) if not _is_code(table)]
            kept |= {kind: rest} if rest else {}
    for name in _WITH_ENTRIES:
        if isinstance(table := kept.get(name), Mapping):
            kept[name] = {key: value for key, value in table.items() if key != "entry"}
    return kept


def _tables(value: Any) -> Iterator[Mapping[str, Any]]:
    for table in value if isinstance(value, list | tuple) else (value,):
        if isinstance(table, Mapping):
            yield table


def _is_code(table: Mapping[str, Any]) -> bool:
    use = table.get("use")
    return isinstance(use, str) and MARK in use
