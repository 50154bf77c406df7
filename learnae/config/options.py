"""One TOML table to one attrs object: every key known, of its type, within its bounds."""

from __future__ import annotations

import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from learnae.config.bounds import bound_of, parts_of
from learnae.config.problems import Problems, join_key
from learnae.config.values import convert, readable
from learnae.config.words import did_you_mean, name_of, show
from learnae.errors import ConfigError, PluginError, Problem

T = TypeVar("T")


def fields_of(cls: type) -> dict[str, attrs.Attribute[Any]]:
    """The fields that stand in a file, by their keys. `cls` is an attrs class; a private field `_x` is the key `x`."""
    return {str(field.alias): field for field in attrs.fields(cls) if field.init}


def hints_of(cls: type) -> dict[str, Any]:
    """The types of those fields, by their keys. Raises PluginError for a type that means nothing at run time or cannot stand in TOML."""
    try:
        hints = typing.get_type_hints(cls)
    except Exception as error:
        raise PluginError(
            cls.__module__, f"reading the types of {cls.__qualname__}", f"{error}; import it outside TYPE_CHECKING"
        ) from error
    for name, field in fields_of(cls).items():
        if field.converter is None and not readable(hints.get(field.name, Any)):
            cause = f"{name} is of type {hints[field.name]}, which TOML cannot give; use a plain type or a converter"
            raise PluginError(cls.__module__, f"reading the types of {cls.__qualname__}", cause)
    return {name: hints.get(field.name, Any) for name, field in fields_of(cls).items()}


def build(cls: type[T], table: Mapping[str, Any], key: str, folder: Path, *, also: Collection[str] = (), **fixed: Any) -> T:
    """An object of the attrs class `cls`. Keys in `also` are for others, `fixed` fields are not for the file.

    Raises ConfigError with all problems of this table, PluginError for a class that cannot be read.
    """
    problems = Problems()
    fields = {name: field for name, field in fields_of(cls).items() if name not in fixed}
    _check_known(table, [*fields, *also], key, problems)
    draft = object.__new__(cls)  # so that each validator runs, not only the first that fails
    given = dict(fixed)
    hints = hints_of(cls)
    for name, field in fields.items():
        with problems.collected():
            value = _value_of(field, hints[name], table, name, key, folder, draft)
            object.__setattr__(draft, field.name, value)
            _validate(field, draft, value, join_key(key, name))
            given[name] = value
    problems.raise_any()
    return _construct(cls, given, key)


def _check_known(table: Mapping[str, Any], known: Collection[str], key: str, problems: Problems) -> None:
    for name in table:
        if name not in known:
            problems.add(join_key(key, name), "is not a key of this table", did_you_mean(name, known))


def _value_of(field: attrs.Attribute[Any], hint: Any, table: Mapping[str, Any], name: str, key: str, folder: Path, draft: Any) -> Any:
    if name in table:
        full = join_key(key, name)
        return _converted(field.converter, table[name], full) if field.converter else convert(hint, table[name], full, folder)
    if field.default is attrs.NOTHING:
        raise ConfigError(Problem(join_key(key, name), "is missing", field.metadata.get("doc") or f"write {name_of(hint)} here"))
    default: Any = field.default
    if hasattr(default, "takes_self"):  # an attrs.Factory, which is a function to mypy
        return _made_by(default, draft, join_key(key, name))
    return default


def _made_by(default: Any, draft: Any, key: str) -> Any:
    try:
        return default.factory(draft) if default.takes_self else default.factory()
    except Exception as error:  # it may look at what else was given
        raise ConfigError(Problem(key, _words_of(error))) from error


def _converted(converter: Any, value: Any, key: str) -> Any:
    try:
        return converter(value)
    except Exception as error:
        raise ConfigError(Problem(key, _words_of(error))) from error


def _validate(field: attrs.Attribute[Any], draft: Any, value: Any, key: str) -> None:
    for validator in parts_of(field.validator, value):
        try:
            validator(draft, field, value)
        except Exception as error:
            bound = bound_of(validator)
            message = f"must be {bound}, not {show(value)}" if bound else _words_of(error, field.name)
            raise ConfigError(Problem(key, message)) from error


def _words_of(error: Exception, name: str = "") -> str:
    """The message alone: attrs puts the name before it, and the field, the options and the value behind it."""
    text = str(error.args[0]).removeprefix(f"{name!r} ") if error.args else "is refused"
    return text if isinstance(error, ValueError | TypeError) else f"is refused: {type(error).__name__}: {text}"


def _construct(cls: type[T], given: Mapping[str, Any], key: str) -> T:
    try:
        return cls(**given)
    except Exception as error:
        raise ConfigError(Problem(key, _words_of(error))) from error
