"""All problems at once, in the order of the file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from learnae.errors import INSTALL_TORCH, ConfigError, PluginError, Problem

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def join_key(table: str, name: str) -> str:
    """The full key of `name` in `table`, quoted as in TOML where that is needed."""
    spelled = name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
    return f"{table}.{spelled}" if table else spelled


DEEPEST = 32  # levels of tables and lists
MOST_KEYS = 1_000
MOST_BITS = 64  # of a number, as TOML has it: Python refuses to write one of some thousand digits


def check_bounds(document: Any, path: Path, most_keys: int = MOST_KEYS) -> None:
    """Raises ConfigError for a file that whoever walks through it, or shows what is in it, could not bear."""
    if not is_shallow(document):
        raise ConfigError(Problem(str(path), "is nested too deeply"))
    if _count_keys(document) > most_keys:
        raise ConfigError(Problem(str(path), f"has more than {most_keys:,} keys", "a peer's file has some dozens"))
    if not are_small(document):
        raise ConfigError(Problem(str(path), f"has a number of more than {MOST_BITS} bits", "write a smaller one"))


def is_shallow(value: Any) -> bool:
    """Whether whoever walks through it stays far from the limits of recursion."""
    level = [value]
    for _ in range(DEEPEST):
        level = [item for one in level if isinstance(one, dict | list) for item in (one.values() if isinstance(one, dict) else one)]
    return not level


def are_small(value: Any) -> bool:
    """Whether all integers are of a size that can be shown; for what is shallow."""
    if isinstance(value, dict):
        return all(map(are_small, value.values()))
    if isinstance(value, list):
        return all(map(are_small, value))
    return not isinstance(value, int) or value.bit_length() <= MOST_BITS


def _count_keys(value: Any) -> int:
    """Each table of a list counts as one, too."""
    if isinstance(value, dict):
        return len(value) + sum(map(_count_keys, value.values()))
    return sum(isinstance(item, dict) + _count_keys(item) for item in value) if isinstance(value, list) else 0


@attrs.define
class Problems:
    """Collects what fails, so that the rest can be checked as well."""

    found: list[Problem] = attrs.field(factory=list)
    broken: list[tuple[Problem, PluginError]] = attrs.field(factory=list)

    def add(self, key: str, message: str, suggestion: str | None = None) -> None:
        self.found.append(Problem(key, message, suggestion))

    @contextmanager
    def collected(self, at: str | None = None, *, broken_at: str | None = None) -> Iterator[None]:
        """Keeps what a block raises, and goes on after it; problems that others found are said to stand `at` a key, those of plugins only
        at `broken_at`.
        """
        try:
            yield
        except ConfigError as error:
            self.found.extend(attrs.evolve(problem, key=at or problem.key) for problem in error.problems)
        except PluginError as error:
            if isinstance(error.__cause__, ModuleNotFoundError) and error.__cause__.name == "torch":
                self.add(at or broken_at or error.plugin, str(error), INSTALL_TORCH)
                return
            self.broken.append((Problem(at or broken_at or error.plugin, str(error)), error))

    def all(self) -> list[Problem]:
        """Those of the file first, then those of plugins."""
        return [*self.found, *(problem for problem, _ in self.broken)]

    def raise_any(self, arrange: Callable[[Iterable[Problem]], Iterable[Problem]] = list) -> None:
        """Raises ConfigError if there are problems, or PluginError if all else is fine."""
        if self.found:
            raise ConfigError(arrange(self.all()))
        for _, error in self.broken:
            raise error


def in_file_order(problems: Iterable[Problem], document: Mapping[str, Any]) -> list[Problem]:
    """Sorted by where their keys stand in the document; a missing key stands at the head of its table."""
    places = {key: place for place, key in enumerate(_walk("", document))}

    def place(problem: Problem) -> int:
        return max((places[key] for key in _prefixes(problem.key) if key in places), default=-1)

    return sorted(problems, key=place)


def from_command_line(problem: Problem, overridden: Collection[str]) -> Problem:
    """The problem with `--set` before its key, if that is where the value came from."""
    if any(_enclosing(problem.key, overridden)):
        return attrs.evolve(problem, key=f"--set {problem.key}")
    return problem


def _walk(key: str, value: Any) -> Iterator[str]:
    yield key
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _walk(join_key(key, str(name)), item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _walk(f"{key}[{index}]", item)


def _prefixes(key: str) -> Iterator[str]:
    """The key, and all that it may stand in: however long the document is."""
    yield key
    yield from (key[:place] for place, character in enumerate(key) if place and character in ".[")


def _enclosing(key: str, known: Iterable[str]) -> Iterator[str]:
    return (other for other in known if other and (key == other or key.startswith((f"{other}.", f"{other}["))))
