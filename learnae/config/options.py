"""Options of strategies: one TOML table becomes one attrs object. Each key is known, of its type, and within its bounds.

The classes behind `attrs.validators` are private, but their fields have kept their names: hence they are told apart by their fields.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs

from learnae.config.presets import DEFAULT, NO_OUTER, PRESETS, names_of
from learnae.config.problems import Problems, join_key
from learnae.config.tables import Choice, SelectorChoice, StorageChoice
from learnae.config.values import convert, readable
from learnae.config.words import did_you_mean, name_of, one_of, show
from learnae.errors import ConfigError, PluginError, Problem

_COMPARED = {">=": "at least", ">": "more than", "<=": "at most", "<": "less than"}


def parts_of(validator: Any, value: Any = ...) -> Iterator[Any]:
    """The single validators behind `and_` and `optional`, as far as they look at `value`."""
    if validator is None:
        return
    together = getattr(validator, "_validators", None)
    if together is not None:
        for part in together:
            yield from parts_of(part, value)
    elif list(_fields(validator)) == ["validator"]:
        if value is not None:
            yield from parts_of(validator.validator, value)
    else:
        yield validator


def bound_of(validator: Any) -> str | None:
    """What a single validator asks for, to be read after "must be"; None for one that is not known.

    A plugin's own validator can say it in a field `meaning`.
    """
    match _fields(validator):
        case {"meaning": meaning}:
            return str(meaning)
        case {"compare_op": operator, "bound": bound} if operator in _COMPARED:
            return f"{_COMPARED[operator]} {show(bound)}"
        case {"options": options}:
            return one_of(options)
        case {"min_length": length}:
            return f"at least {length} long"
        case {"max_length": length}:
            return f"at most {length} long"
        case {"pattern": pattern}:
            return f"text of the form {pattern.pattern}"
        case _:
            return None


def _fields(validator: Any) -> dict[str, Any]:
    fields = getattr(type(validator), "__attrs_attrs__", ())
    return {field.name: getattr(validator, field.name) for field in fields}


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


OptionsOf = Callable[[str, str], type]
"""The options class of a strategy, by kind and name. Raises ConfigError for an unknown name, PluginError for a broken strategy."""


@attrs.frozen
class PluginKind:
    """How one kind of strategy stands in the file."""

    name: str
    choice: type[Choice] = Choice
    many: bool = False  # one table or a list of them
    needed: bool = True
    default: tuple[str, ...] = ()


KINDS = {
    kind.name: kind
    for kind in (
        PluginKind("storage", StorageChoice, many=True, default=("directory",)),
        PluginKind("announcer", many=True, default=("directory",)),
        PluginKind("selector", SelectorChoice, default=("least-recently-tried",)),
        PluginKind("gate", many=True, needed=False, default=PRESETS[DEFAULT].gates),
        PluginKind("merge", default=(PRESETS[DEFAULT].merge,)),
        PluginKind("outer", needed=False, default=(PRESETS[DEFAULT].outer,)),
        PluginKind("codec", default=("int8",)),
    )
}


def with_defaults(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the strategies of its preset, or the default ones, where it says nothing."""
    filled, preset = dict(document), names_of(document)
    for kind in KINDS.values():
        chosen = [{"use": name} for name in preset.get(kind.name, kind.default)]
        if kind.many:
            filled.setdefault(kind.name, chosen)
        elif chosen and isinstance(filled.setdefault(kind.name, {}), Mapping):
            filled[kind.name] = {**filled[kind.name], "use": filled[kind.name].get("use", chosen[0]["use"])}
    return filled


def table_of(value: Any, name: str, key: str) -> Mapping[str, Any]:
    """The value itself if it is a table. Raises ConfigError."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list | tuple):
        raise ConfigError(Problem(key, "must be a single table", f"write [{name}] once"))
    header = f"[{name}]" if key == name else f"[[{name}]]"
    raise ConfigError(Problem(key, f"must be a table, not {show(value)}", f"write {header} and its keys below it"))


def unread(kind: PluginKind) -> Choice | tuple[Choice, ...] | None:
    """The default choice of a kind as its names alone, without their options: nothing is imported."""
    choices = tuple(kind.choice(name, None) for name in kind.default)
    return choices if kind.many else choices[0] if choices else None


@attrs.frozen
class ChoiceReader:
    """Reads the tables of strategies; what is wrong goes to `problems`, for the caller to raise."""

    folder: Path
    options_of: OptionsOf
    problems: Problems

    def read(self, kind: PluginKind, value: Any) -> Choice | tuple[Choice, ...] | None:
        """The choice of a kind, or a tuple of them where several may stand."""
        if not kind.many:
            return None if kind.name == "outer" and value == NO_OUTER else self._choice(kind, value, kind.name)
        if not isinstance(value, list | tuple):
            return self._choices(kind, {kind.name: value})
        if kind.needed and not value:
            self.problems.add(kind.name, "needs at least one", f"write [[{kind.name}]]")
        return self._choices(kind, {f"{kind.name}[{index}]": table for index, table in enumerate(value)})

    def _choices(self, kind: PluginKind, tables: Mapping[str, Any]) -> tuple[Choice, ...]:
        choices = [self._choice(kind, table, key) for key, table in tables.items()]
        return tuple(choice for choice in choices if choice is not None)

    def _choice(self, kind: PluginKind, value: Any, key: str) -> Choice | None:
        own = [name for name in fields_of(kind.choice) if name != "options"]
        with self.problems.collected():
            table = table_of(value, kind.name, key)
            options = self._options(kind, table, key, own)
            return build(kind.choice, {name: table[name] for name in table if name in own}, key, self.folder, options=options)
        return None

    def _options(self, kind: PluginKind, table: Mapping[str, Any], key: str, own: Sequence[str]) -> Any:
        use = table.get("use")
        options_class = self._options_class(kind, use, key, own) if isinstance(use, str) else None
        if options_class is not None:
            with self.problems.collected(broken_at=join_key(key, "use")):
                return build(options_class, {name: table[name] for name in table if name not in own}, key, self.folder, also=own)
        return None

    def _options_class(self, kind: PluginKind, use: str, key: str, own: Sequence[str]) -> type | None:
        with self.problems.collected(at=join_key(key, "use")):
            options_class = self.options_of(kind.name, use)
            taken = sorted(set(own) & set(fields_of(options_class)))
            if taken:
                raise PluginError(use, "naming its options", f"every {kind.name} has a key {taken[0]!r} already; choose another name")
            return options_class
        return None
