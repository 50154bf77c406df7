"""`--set key=value`: single keys of the document, from the command line."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from learnae.config.problems import Problems, join_key
from learnae.config.toml import DEEPEST, is_shallow
from learnae.config.words import show
from learnae.errors import ConfigError, Problem

_STEP = re.compile(r"([A-Za-z0-9_-]+)(?:\[(\d{1,6})\])?")

Step = tuple[str, int | None]


def override(document: Mapping[str, Any], overrides: Sequence[str], problems: Problems) -> tuple[dict[str, Any], list[str]]:
    """A copy of the document with these keys set, and the full keys that were."""
    changed, keys = copy.deepcopy(dict(document)), []
    for text in overrides:
        with problems.collected():
            steps, value = _parse(text)
            keys.append(_assign(changed, steps, value, f"--set {text}"))
    return changed, keys


def _parse(text: str) -> tuple[list[Step], Any]:
    key, equals, value = text.partition("=")
    steps = [_STEP.fullmatch(step) for step in key.strip().split(".")]
    if not equals or not all(steps) or len(steps) > DEEPEST:
        raise ConfigError(Problem(f"--set {text}", "is not of the form key=value", "such as train.local_steps=50"))
    return [(step[1], int(step[2]) if step[2] else None) for step in steps if step], _value(value.strip())


def _value(text: str) -> Any:
    """A TOML value, or the text itself where it is none: `--set merge.use=average` needs no quotes."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 and is_shallow(parsed) else text


def _assign(document: dict[str, Any], steps: Sequence[Step], value: Any, said: str) -> str:
    *tables, (name, index) = steps
    place, key = document, ""
    for step in tables:
        place, key = _enter(place, key, step, said)
    key = join_key(key, name)
    if index is None:
        place[name] = value
        return key
    items = _items(place, name, index, key, said)
    items[index : index + 1] = [value]
    return f"{key}[{index}]"


def _enter(table: dict[str, Any], key: str, step: Step, said: str) -> tuple[dict[str, Any], str]:
    """The table that the step names, made if it is the next one, and its full key. The only one of a list needs no index."""
    name, index = step
    key, found = join_key(key, name), table.setdefault(name, {})
    if isinstance(found, dict) and not index:
        return found, key
    items = _items(table, name, index or 0, key, said)
    if index is None and len(items) != 1:
        raise ConfigError(Problem(said, f"{key} has {len(items)} entries", f"name one, such as {key}[0]"))
    index = index or 0
    if index == len(items):
        items.append({})
    if not isinstance(items[index], dict):
        raise ConfigError(Problem(said, f"{key} is no list of tables"))
    return items[index], f"{key}[{index}]"


def _items(table: dict[str, Any], name: str, index: int, key: str, said: str) -> list[Any]:
    """The list under `name`, with room for `index`; a table that stands alone becomes a list of one."""
    found = table.setdefault(name, [])
    if not isinstance(found, dict | list | tuple):
        raise ConfigError(Problem(said, f"{key} is no table and no list, but {show(found)}"))
    items = table[name] = [found] if isinstance(found, dict) else list(found)
    if index > len(items):
        raise ConfigError(Problem(said, f"{key} has only {len(items)} entries", f"the next one is {key}[{len(items)}]"))
    return items
