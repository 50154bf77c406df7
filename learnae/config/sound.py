"""What is left of a document without what is wrong in it, so that the rest can be looked at as well."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from learnae.config.problems import join_key


def without(document: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """A copy without these keys: of one that is missing the table is left out, of a strategy that there is not all that belongs to it."""
    there = set(_keys("", document))
    bad = {_nearest(key.removesuffix(".use"), there) for key in keys}
    return {} if "" in bad else _pruned("", document, bad)


def _nearest(key: str, there: Collection[str]) -> str:
    """The key itself, or what it would stand in."""
    while key and key not in there:
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return key


def _pruned(key: str, value: Any, bad: Collection[str]) -> Any:
    if isinstance(value, Mapping):
        inner = {name: join_key(key, name) for name in value}
        left = {name: _pruned(inner[name], item, bad) for name, item in value.items() if inner[name] not in bad}
        return {name: item for name, item in left.items() if item != [] or value[name] in ([], ())}  # an empty list may mean more than none
    if isinstance(value, list | tuple):
        return [_pruned(f"{key}[{place}]", item, bad) for place, item in enumerate(value) if f"{key}[{place}]" not in bad]
    return value


def _keys(key: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [key, *(found for name, item in value.items() for found in _keys(join_key(key, name), item))]
    if isinstance(value, list | tuple):
        return [key, *(found for place, item in enumerate(value) for found in _keys(f"{key}[{place}]", item))]
    return [key]
