"""A Config as plain data, for JSON: `load_document(dump(config), folder=config.folder, ...)` gives an equal one."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from learnae.config.options import fields_of
from learnae.config.tables import Choice, Config
from learnae.errors import PluginError


def dump(config: Config) -> dict[str, Any]:
    """The document that stands for `config`, all but its folder. Raises PluginError for an option that JSON cannot carry."""
    return {
        name: _plain(getattr(config, name), name) for name in fields_of(Config) if name != "folder" and getattr(config, name) is not None
    }


def _plain(value: Any, key: str) -> Any:
    if isinstance(value, Choice):
        return {**_table(value, key, leave="options"), **_table(value.options, key)}
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
