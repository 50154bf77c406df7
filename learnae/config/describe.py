"""Says which keys a peer's file may have, for `learnae plugins` and the reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from learnae.config.load import PLAIN
from learnae.config.options import KINDS, PluginKind, bound_of, fields_of, hints_of, parts_of
from learnae.config.words import name_of, show


@attrs.frozen
class OptionKey:
    """One key of a table. `default` is spelled as in TOML; empty if there is none, "required" if the file must name one."""

    table: str
    key: str
    type: str
    default: str
    doc: str
    bounds: tuple[str, ...] = ()  # each to be read after "must be"


def describe_tables() -> list[OptionKey]:
    """All keys that do not belong to a strategy."""
    plain = [key for name, cls in PLAIN.items() for key in describe_options(cls, name)]
    return plain + [
        _filled(key, kind) for kind in KINDS.values() for key in describe_options(kind.choice, kind.name) if key.key != "options"
    ]


def _filled(key: OptionKey, kind: PluginKind) -> OptionKey:
    """A table that can be left out, all but some keys of its strategy, has a name by default."""
    return attrs.evolve(key, default=show(kind.default[0])) if key.key == "use" and kind.default and not kind.many else key


def describe_options(cls: type, table: str = "") -> list[OptionKey]:
    """The keys of one attrs class of options. Raises PluginError if their types mean nothing."""
    hints = hints_of(cls)
    return [
        OptionKey(table, name, name_of(hints[name]), _default(field), str(field.metadata.get("doc", "")), tuple(_bounds(field)))
        for name, field in fields_of(cls).items()
    ]


def _default(field: attrs.Attribute[Any]) -> str:
    if field.default is attrs.NOTHING:
        return "required"
    default: Any = field.default
    if hasattr(default, "takes_self"):
        return "computed" if default.takes_self else show(default.factory())
    return "" if default is None else show(default)


def _bounds(field: attrs.Attribute[Any]) -> Iterator[str]:
    return (bound for validator in parts_of(field.validator) if (bound := bound_of(validator)))
