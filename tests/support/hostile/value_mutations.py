"""Mutations that know the form: a valid encoding is read, one of its values is swapped for a wicked one, and all is written again."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import attrs
import cbor2
import libipld

WICKED: tuple[Any, ...] = (
    *(0, 1, -1, 24, 255, 256, 65_535, 65_536, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**64)),
    *(10**400, 0.0, -0.0, 0.5, 1e308, 5e-324, float("nan"), float("inf"), float("-inf"), True, False, None),
    *("", "a", "\x00", "\x1b[2J", "\u202e", "ä" * 300, "x" * 5000, "bafkrei" + "a" * 52, "0f" * 32),
    *(b"", b"\x00", b"\x01\x71\x12\x20" + bytes(32), b"\x01\x55\x12\x20" + bytes(32), bytes(100)),
    *([], {}, [[]], [0] * 100, {"a": 0}, {1: 2}, [[[[[[[[[[]]]]]]]]]], {"": {"": {"": {}}}}),
)
TAGS = (0, 2, 4, 5, 25, 28, 29, 30, 35, 37, 42, 256, 258, 55799, 2**63)

Path = tuple[Any, ...]
"""Keys and indexes, from the root of a tree to one of its values."""


@attrs.frozen
class Form:
    """How bytes are read as a tree and written again; both may raise anything."""

    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]
    tag: Callable[[int, Any], Any] = lambda number, value: value


CBOR = Form(cbor2.loads, lambda tree: cbor2.dumps(tree, canonical=True), cbor2.CBORTag)
DAG_CBOR = Form(libipld.decode_dag_cbor, libipld.encode_dag_cbor)
"""What can still be encoded by it: links are bytes in its trees, and come back as links."""
LOOSE_DAG_CBOR = Form(libipld.decode_dag_cbor, cbor2.dumps, cbor2.CBORTag)
JSON = Form(json.loads, lambda tree: json.dumps(tree).encode() + b"\n")


def mutated(data: bytes, form: Form, rng: Random) -> bytes:
    """The same with one to three of its values swapped, doubled, dropped or wrapped; unchanged where it cannot be read or written."""
    try:
        tree = form.read(data)
        for _ in range(rng.randint(1, 3)):
            tree = _changed(tree, rng.choice(list(_paths(tree))), form, rng)
        return form.write(tree)
    except Exception:  # a tree that is no tree any more
        return data


def _paths(tree: Any, here: Path = ()) -> list[Path]:
    below = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [here, *(path for key, value in below for path in _paths(value, (*here, key)))]


def _changed(tree: Any, path: Path, form: Form, rng: Random) -> Any:
    if not path:
        return _other(tree, form, rng)
    key, rest = path[0], path[1:]
    if isinstance(tree, list):
        return _changed_list(tree, key, rest, form, rng)
    if not rest and rng.random() < 0.3:
        return _changed_keys(tree, key, rng)
    return {**tree, key: _changed(tree[key], rest, form, rng)}


def _changed_list(items: list[Any], index: int, rest: Path, form: Form, rng: Random) -> list[Any]:
    before, after = items[:index], items[index + 1 :]
    if rest or rng.random() < 0.5:
        return [*before, _changed(items[index], rest, form, rng), *after]
    times = rng.choice((0, 2, 3, 70))
    return [*before, *[items[index]] * times, *after]


def _changed_keys(table: dict[Any, Any], key: Any, rng: Random) -> dict[Any, Any]:
    """An entry dropped, or under another key as well."""
    if rng.random() < 0.5:
        return {name: value for name, value in table.items() if name != key}
    keys = [wicked for wicked in WICKED if type(wicked) is type(key)]
    return {**table, rng.choice(keys): table[key]}


def _other(value: Any, form: Form, rng: Random) -> Any:
    near = (value + 1, value - 1, -value, value * 2) if type(value) in (int, float) else (value,)
    match rng.randrange(4):
        case 0:
            return form.tag(rng.choice(TAGS), value)
        case 1:
            return rng.choice(near)
        case 2:
            return rng.choice(([value], {"a": value}, [value] * 3))
    return rng.choice(WICKED)
