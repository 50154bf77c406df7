"""The tables that choose strategies: which name, and that strategy's own options beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from learnae.config.options import build, fields_of
from learnae.config.problems import Problems, join_key
from learnae.config.tables import Choice, SelectorChoice, StorageChoice
from learnae.config.words import show
from learnae.errors import ConfigError, PluginError, Problem

OptionsOf = Callable[[str, str], type]
"""The options class of a strategy, by kind and name. Raises ConfigError for an unknown name, PluginError for a broken strategy."""


@attrs.frozen
class Kind:
    """How one kind of strategy stands in the file."""

    name: str
    choice: type[Choice] = Choice
    many: bool = False  # one table or a list of them
    needed: bool = True
    default: tuple[str, ...] = ()


KINDS = {
    kind.name: kind
    for kind in (
        Kind("storage", StorageChoice, many=True, default=("directory",)),
        Kind("announcer", many=True, default=("directory",)),
        Kind("selector", SelectorChoice, default=("least-recently-tried",)),
        Kind("gate", many=True, needed=False, default=("sane", "clip")),
        Kind("merge", default=("average",)),
        Kind("outer", needed=False),
        Kind("codec", default=("int8",)),
    )
}


def with_defaults(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the default strategies where it says nothing."""
    filled = dict(document)
    for kind in KINDS.values():
        chosen = [{"use": name} for name in kind.default]
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


@attrs.frozen
class ChoiceReader:
    """Reads the tables of strategies; what is wrong goes to `problems`, for the caller to raise."""

    folder: Path
    options_of: OptionsOf
    problems: Problems

    def read(self, kind: Kind, value: Any) -> Choice | tuple[Choice, ...] | None:
        """The choice of a kind, or a tuple of them where several may stand."""
        if not kind.many:
            return self._choice(kind, value, kind.name)
        if not isinstance(value, list | tuple):
            return self._choices(kind, {kind.name: value})
        if kind.needed and not value:
            self.problems.add(kind.name, "needs at least one", f"write [[{kind.name}]]")
        return self._choices(kind, {f"{kind.name}[{index}]": table for index, table in enumerate(value)})

    def _choices(self, kind: Kind, tables: Mapping[str, Any]) -> tuple[Choice, ...]:
        choices = [self._choice(kind, table, key) for key, table in tables.items()]
        return tuple(choice for choice in choices if choice is not None)

    def _choice(self, kind: Kind, value: Any, key: str) -> Choice | None:
        own = [name for name in fields_of(kind.choice) if name != "options"]
        with self.problems.collected():
            table = table_of(value, kind.name, key)
            options = self._options(kind, table, key, own)
            return build(kind.choice, {name: table[name] for name in table if name in own}, key, self.folder, options=options)
        return None

    def _options(self, kind: Kind, table: Mapping[str, Any], key: str, own: Sequence[str]) -> Any:
        use = table.get("use")
        options_class = self._options_class(kind, use, key, own) if isinstance(use, str) else None
        if options_class is not None:
            with self.problems.collected(broken_at=join_key(key, "use")):
                return build(options_class, {name: table[name] for name in table if name not in own}, key, self.folder, also=own)
        return None

    def _options_class(self, kind: Kind, use: str, key: str, own: Sequence[str]) -> type | None:
        with self.problems.collected(at=join_key(key, "use")):
            options_class = self.options_of(kind.name, use)
            taken = sorted(set(own) & set(fields_of(options_class)))
            if taken:
                raise PluginError(use, "naming its options", f"every {kind.name} has a key {taken[0]!r} already; choose another name")
            return options_class
        return None
