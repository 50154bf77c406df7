"""How values and types are spelled in messages and in the documentation."""

from __future__ import annotations

import difflib
import enum
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

SHOWN = 60  # characters of a value that are repeated in a message

_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    Path: "a path",
    Any: "any value",
}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest known word, or all of them."""
    words = sorted(known)
    near = difflib.get_close_matches(word[:SHOWN].lower(), words, n=1)
    if near:
        return f"did you mean {show(near[0])}?"
    return f"known: {', '.join(words)}" if words else "none is known"


def show(value: Any) -> str:
    """A value as TOML would have it, cut to a readable length."""
    text = _literal(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _literal(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return _literal(value.value)
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, (str, Path)):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name} = {_literal(item)}' for name, item in value.items())}}}"
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_literal, value))}]"
    return str(value)


def name_of(hint: Any) -> str:
    """A type in plain words, with its article: "an integer", "a list of text"."""
    if hint in _NAMES:
        return _NAMES[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if is_union(hint):
        return " or ".join(name_of(member) for member in arguments if member is not type(None))
    if origin is typing.Literal:
        return one_of(arguments)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return one_of(member.value for member in hint)
    if is_list(hint):
        return "a list of " + " and ".join(_bare(argument) for argument in arguments if argument is not ...) if arguments else "a list"
    if is_table(hint):
        return "a table"
    return str(getattr(hint, "__name__", hint))


def _bare(hint: Any) -> str:
    return name_of(hint).removeprefix("an ").removeprefix("a ")


def is_union(hint: Any) -> bool:
    return isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union


def is_list(hint: Any) -> bool:
    origin = typing.get_origin(hint) or hint
    return isinstance(origin, type) and issubclass(origin, Sequence) and not issubclass(origin, (str, bytes))


def is_table(hint: Any) -> bool:
    origin = typing.get_origin(hint) or hint
    return isinstance(origin, type) and issubclass(origin, Mapping)


def one_of(options: Iterable[Any]) -> str:
    return f"one of {', '.join(map(show, options))}"
