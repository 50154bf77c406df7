"""One TOML value to one Python value, by the type that its key asks for. Nothing is guessed: "3" is no number, 1 is no boolean."""

from __future__ import annotations

import enum
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from learnae.config.folders import expanded
from learnae.config.problems import Problems, join_key
from learnae.config.words import is_list, is_table, is_union, name_of, show
from learnae.errors import ConfigError, Problem

INT_LIMIT = 1 << 63


def convert(hint: Any, value: Any, key: str, folder: Path) -> Any:
    """`value` as a `hint`; paths start at `folder`. Raises ConfigError with every problem in it; the type must be readable."""
    if hint in _SCALARS:
        return _SCALARS[hint](value, key, folder)
    if is_union(hint):
        return _union(hint, value, key, folder)
    if typing.get_origin(hint) is typing.Literal:
        return _choice(hint, {option: option for option in typing.get_args(hint)}, value, key)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _choice(hint, {member.value: member for member in hint}, value, key)
    if is_list(hint):
        return _sequence(hint, value, key, folder)
    if is_table(hint):
        return _mapping(hint, value, key, folder)
    raise TypeError(f"{key} is of type {hint}")


def readable(hint: Any) -> bool:
    """Whether `convert` knows this type."""
    arguments = [argument for argument in typing.get_args(hint) if argument not in (..., type(None))]
    if is_union(hint) or is_list(hint) or is_table(hint):
        return all(map(readable, arguments))
    known = hint in _SCALARS or typing.get_origin(hint) is typing.Literal
    return known or (isinstance(hint, type) and issubclass(hint, enum.Enum))


def _refuse(expected: str, value: Any, key: str, suggestion: str | None = None) -> ConfigError:
    return ConfigError(Problem(key, f"must be {expected}, not {show(value)}", suggestion))


def _boolean(value: Any, key: str, _: Path) -> bool:
    if type(value) is bool:
        return value
    raise _refuse(name_of(bool), value, key)


def _integer(value: Any, key: str, _: Path) -> int:
    if type(value) is not int:
        raise _refuse(name_of(int), value, key, _unquoted(value))
    if not -INT_LIMIT <= value < INT_LIMIT:
        raise ConfigError(Problem(key, "must fit into 64 bits"))
    return value


def _number(value: Any, key: str, folder: Path) -> float:
    if type(value) is int:
        return float(_integer(value, key, folder))
    if type(value) is not float:
        raise _refuse(name_of(float), value, key, _unquoted(value))
    if not math.isfinite(value):
        raise _refuse("a finite number", value, key)
    return value


def _unquoted(value: Any) -> str | None:
    try:
        return f"without quotes: {value}" if isinstance(value, str) and math.isfinite(float(value)) else None
    except ValueError:
        return None


def _text(value: Any, key: str, _: Path) -> str:
    if not isinstance(value, str):
        quoted = None if isinstance(value, list | tuple | Mapping) else f'in quotes: "{show(value)}"'
        raise _refuse(name_of(str), value, key, quoted)
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(Problem(key, "must be text without NUL and broken characters"))
    return value


def _path(value: Any, key: str, folder: Path) -> Path:
    text = _text(value, key, folder)
    if not text:
        raise ConfigError(Problem(key, "must not be empty", 'the folder of this file is "."'))
    return folder / expanded(text, key)


def _anything(value: Any, key: str, folder: Path) -> Any:
    """What JSON can carry as well."""
    if isinstance(value, Mapping):
        return _mapping(dict[str, Any], value, key, folder)
    if isinstance(value, list | tuple):
        return _sequence(list[Any], value, key, folder)
    reader = None if value is None else _SCALARS.get(type(value))
    if reader is None and value is not None:
        raise ConfigError(Problem(key, f"must not be a date or time: {show(value)}", "write it in quotes"))
    return reader(value, key, folder) if reader else None


_SCALARS: dict[Any, Callable[[Any, str, Path], Any]] = {
    bool: _boolean,
    int: _integer,
    float: _number,
    str: _text,
    Path: _path,
    Any: _anything,
}


def _union(hint: Any, value: Any, key: str, folder: Path) -> Any:
    members = [member for member in typing.get_args(hint) if member is not type(None)]
    if value is None and len(members) < len(typing.get_args(hint)):
        return None
    if len(members) == 1:
        return convert(members[0], value, key, folder)
    for member in members:
        try:
            return convert(member, value, key, folder)
        except ConfigError:
            continue
    raise _refuse(name_of(hint), value, key)


def _choice(hint: Any, options: Mapping[Any, Any], value: Any, key: str) -> Any:
    for option, meant in options.items():
        if type(option) is type(value) and option == value:
            return meant
    raise _refuse(name_of(hint), value, key)


def _sequence(hint: Any, value: Any, key: str, folder: Path) -> Any:
    if not isinstance(value, list | tuple):
        raise _refuse(name_of(hint), value, key, f"[{show(value)}]")
    problems, items = Problems(), []
    for index, (member, item) in enumerate(zip(_members(hint, value, key), value, strict=True)):
        with problems.collected():
            items.append(convert(member, item, f"{key}[{index}]", folder))
    problems.raise_any()
    return items if typing.get_origin(hint) is list or hint is list else tuple(items)


def _members(hint: Any, value: Sequence[Any], key: str) -> Sequence[Any]:
    arguments = typing.get_args(hint) or (Any,)
    if typing.get_origin(hint) is not tuple or arguments[-1] is ...:
        return [arguments[0]] * len(value)
    if len(arguments) != len(value):
        raise ConfigError(Problem(key, f"must have {len(arguments)} entries, not {len(value)}"))
    return arguments


def _mapping(hint: Any, value: Any, key: str, folder: Path) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _refuse(name_of(hint), value, key)
    member = (typing.get_args(hint) or (str, Any))[1]
    problems, items = Problems(), {}
    for name, item in value.items():
        with problems.collected():
            items[name] = convert(member, item, join_key(key, name), folder)
    problems.raise_any()
    return items
