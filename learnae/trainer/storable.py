"""What a checkpoint may hold, so that it can be read again without unpickling anything unsafe.

What `torch.load(weights_only=True)` takes stays as it is. Numpy's numbers become Python's. Arrays and a few containers are written as
a mark with plain values, and are themselves again in `revived`. Anything else is refused, by the path to it.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

from learnae.errors import ConfigError, Problem

MARK = "learnae.kind"
PLAIN_BITS = 2000  # of integers; torch reads those of less than 256 bytes
PLAIN = (bool, int, float, complex, str, bytes, type(None))
REMEDY = "give numbers, texts, tensors, arrays, and lists or dicts of them, for example from `state_dict()` or `get_extra_state()`"
BASES: dict[type, Callable[[Any], Any]] = {
    int: int.__index__,
    float: float.__float__,
    complex: complex.__complex__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
}
"""What a value of a subclass is, such as a member of `class Color(str, Enum)`, whatever its own methods make of it."""
FACTORIES: dict[str, Any] = {kind.__name__: kind for kind in (int, float, bool, str, list, dict, set)}

# Names in files: what is revived by them cannot be renamed.
REVIVE: dict[str, Callable[..., Any]] = {
    "integer": lambda digits: int(digits, 16),
    "array": lambda tensor: tensor.numpy(),
    "strings": lambda strings, kind: np.array(strings, np.dtype(kind)),
    "frozenset": frozenset,
    "deque": lambda values, limit: deque(values, limit),
    "defaultdict": lambda values, factory: defaultdict(FACTORIES.get(factory), values),
    "counter": Counter,
    "slice": slice,
    "range": range,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "timedelta": timedelta,
    "decimal": Decimal,
    "fraction": Fraction,
}


class NotStorableError(Exception):
    """This value, at this path."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path} {why}")


def storable(state: Mapping[str, Any]) -> dict[str, Any]:
    """The same, of plain values; what is plain already is not copied. Raises ConfigError with the path to what cannot be saved."""
    try:
        return {name: _walk(value, name, ()) for name, value in state.items()}
    except NotStorableError as error:
        raise ConfigError(Problem("checkpoint", f"{error}, which cannot be saved", REMEDY)) from None


def revived(state: Any) -> Any:
    """What `storable` was given, from what was read. Raises ConfigError for what it would not have written."""
    try:
        return _revived(state)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        what = f"holds what cannot be made again: {type(error).__name__}: {error}"
        raise ConfigError(Problem("checkpoint", what, "read it with the Learnae that wrote it, or one that is newer")) from error


def _revived(state: Any) -> Any:
    match state:
        case dict() if MARK in state:
            if state[MARK] not in REVIVE:
                raise LookupError(f"this Learnae knows no {state[MARK]!r:.80}")
            return REVIVE[state[MARK]](*_revived(state["of"]))
        case dict() | list():
            for place, value in list(state.items() if isinstance(state, dict) else enumerate(state)):
                if (again := _revived(value)) is not value:
                    state[place] = again
        case tuple() if type(state) is tuple:
            return tuple([_revived(value) for value in state])
    return state


def _walk(value: Any, path: str, above: tuple[int, ...]) -> Any:
    if type(value) is int and value.bit_length() > PLAIN_BITS:
        return _container(_Marked("integer", hex(value)), path, above)
    if type(value) in PLAIN:
        return value
    if isinstance(value, torch.Tensor):
        return _tensor(value, path)
    if id(value) in above:
        raise NotStorableError(path, "contains itself")
    if len(above) > 100:
        raise NotStorableError(path[:100], "is nested more than a hundred times")
    above = (*above, id(value))
    simpler = _simpler(value, path)
    if simpler is not None:
        return _walk(simpler, path, above)
    return _container(value, path, above)


def _tensor(value: torch.Tensor, path: str) -> torch.Tensor:
    """Of Tensor itself, and without attributes: those of a subclass would have to be unpickled."""
    try:
        if type(value) in (torch.Tensor, torch.nn.Parameter) and not getattr(value, "__dict__", None) and not value.is_nested:
            return value
        plain = value.detach().as_subclass(torch.Tensor)
        if type(plain) is torch.Tensor and (plain is value or not _unreadable(plain.flatten()[:1].clone())):
            return plain
    except (RuntimeError, ValueError):
        pass  # of a kind that holds its numbers elsewhere, or has none yet
    raise NotStorableError(path, f"is a {_name(value)}")


def _simpler(value: Any, path: str) -> Any:
    """In place of a value that has no plain type: one that is plainer. None where there is none."""
    match value:
        case np.ndarray():
            return _array(value, path)
        case np.generic():
            return _number(value, path)
    return next((plain(value) for kind, plain in BASES.items() if isinstance(value, kind)), None)


def _number(value: Any, path: str) -> Any:
    """Of Python. The longest numbers lose the digits that Python's have no room for."""
    if isinstance(value, np.datetime64 | np.timedelta64 | np.void):  # which Python knows in another unit, or not at all
        raise NotStorableError(path, f"is a {_name(value)}")
    plain = value.item()
    if not isinstance(plain, np.generic):
        return plain
    return complex(plain) if isinstance(plain, np.complexfloating) else float(plain)


def _array(value: Any, path: str) -> Any:
    if type(value) not in (np.ndarray, np.memmap):
        raise NotStorableError(path, f"is a {_name(value)}")
    if value.dtype.kind == "U":
        return _Marked("strings", value.tolist(), f"U{value.dtype.itemsize // 4}")
    try:
        return _Marked("array", torch.from_numpy(np.array(value, value.dtype.newbyteorder("="), order="C", copy=True)))
    except (TypeError, ValueError):
        raise NotStorableError(path, f"is an array of {value.dtype}") from None


class _Marked:
    """A value that is written as a mark, and what it is made of."""

    def __init__(self, kind: str, *parts: Any) -> None:
        self.kind, self.parts = kind, list(parts)


def _container(value: Any, path: str, above: tuple[int, ...]) -> Any:
    marked = value if isinstance(value, _Marked) else _marked(value)
    if marked is not None:
        return {MARK: marked.kind, "of": _walk(marked.parts, path, above)}
    if type(value) in (dict, OrderedDict):
        return _dict(value, path, above)
    if type(value) in (list, tuple):
        parts = [_walk(part, f"{path}[{index}]", above) for index, part in enumerate(value)]
        return value if _same(parts, value) else type(value)(parts)
    if type(value) is set:
        return {_key(part, f"a member of {path}", above) for part in value}
    if why := _unreadable(value):
        raise NotStorableError(path, why)
    return value


def _marked(value: Any) -> _Marked | None:
    found: dict[type, Callable[[Any], _Marked]] = {
        frozenset: lambda value: _Marked("frozenset", list(value)),
        deque: lambda value: _Marked("deque", list(value), value.maxlen),
        Counter: lambda value: _Marked("counter", dict(value)),
        slice: lambda value: _Marked("slice", value.start, value.stop, value.step),
        range: lambda value: _Marked("range", value.start, value.stop, value.step),
        datetime: lambda value: _Marked("datetime", value.isoformat()),
        date: lambda value: _Marked("date", value.isoformat()),
        timedelta: lambda value: _Marked("timedelta", value.days, value.seconds, value.microseconds),
        Decimal: lambda value: _Marked("decimal", str(value)),
        Fraction: lambda value: _Marked("fraction", str(value)),
    }
    if type(value) is defaultdict and (value.default_factory is None or value.default_factory in FACTORIES.values()):
        return _Marked("defaultdict", dict(value), getattr(value.default_factory, "__name__", None))
    return found[type(value)](value) if type(value) in found else None


def _dict(value: dict[Any, Any], path: str, above: tuple[int, ...]) -> Any:
    new = {_key(key, f"the key {key!s:.80} of {path}", above): _walk(part, f"{path}[{_quoted(key)}]", above) for key, part in value.items()}
    if MARK in new:
        raise NotStorableError(path, f"has a key {MARK!r}")
    more = {} if type(value) is dict else dict(vars(value))  # such as the versions of a model's state
    if _same(list(new), list(value)) and _same(list(new.values()), list(value.values())) and not more:
        return value
    made = type(value)(new)
    if more:
        vars(made).update(_walk(more, path, above))
    return made


def _key(value: Any, path: str, above: tuple[int, ...]) -> Any:
    key = _walk(value, path, above)
    try:
        hash(key)
    except TypeError:  # a mark, or a tuple that holds one: `revived` looks into no key
        raise NotStorableError(path, f"is {value!r:.80}, a {_name(value)}") from None
    return key


def _quoted(key: Any) -> str:
    return f'"{key}"' if isinstance(key, str) else str(key)


def _same(these: list[Any], those: Any) -> bool:
    return all(one is other for one, other in zip(these, those, strict=True))


def _unreadable(value: Any) -> str:
    """Why it cannot be read again, or nothing: torch knows more plain types with each version, such as its devices."""
    name = _name(value)
    if isinstance(value, PurePath):
        return f"is a {name}: save str() of it"
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.save(value, buffer)
            buffer.seek(0)
            torch.load(buffer, weights_only=True)
    except Exception:
        return f"is a {name}" if not isinstance(value, tuple) else f"is a {name}: save tuple() of it"
    return ""


def _name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
