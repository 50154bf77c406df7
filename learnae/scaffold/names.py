"""Names that a user chose: what they must be, and what follows from them."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from collections.abc import Collection
from pathlib import Path

import attrs

from learnae.errors import ConfigError, Problem

PREFIX = "learnae-"
LONGEST = 64


def swarm_name(folder: Path) -> str:
    """The swarm of a new project: called like its folder. Raises ConfigError for a name that would need quoting."""
    name = folder.absolute().name
    if not re.fullmatch(r"\w[\w .-]*", name) or len(name) > LONGEST:
        remedy = f"take one of at most {LONGEST} letters, digits, spaces, dots, hyphens and underscores"
        raise ConfigError(Problem("NAME", f"{name!r} cannot be the name of a swarm", remedy))
    return name


@attrs.frozen
class PluginNames:
    """One plugin: `learnae-my-rule`, in `use = "my-rule"`, `import learnae_my_rule`, `class MyRule`."""

    distribution: str
    strategy: str
    module: str
    cls: str


def plugin_names(distribution: str, taken: Collection[str]) -> PluginNames:
    """Raises ConfigError for what no package can be called, or a module or one of the `taken` strategies is called already."""
    strategy, module = distribution.removeprefix(PREFIX), distribution.replace("-", "_")
    if not re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)*", strategy) or len(distribution) > LONGEST:
        remedy = f'at most {LONGEST} lower-case letters, digits and single hyphens, such as "my-rule"'
        raise ConfigError(Problem("NAME", f"{distribution!r} cannot be the name of a plugin", remedy))
    if strategy in taken:
        raise ConfigError(Problem("NAME", f'"{strategy}" is the name of a strategy of this kind already', f'such as "my-{strategy}"'))
    if _is_taken(module):
        raise ConfigError(Problem("NAME", f'"{module}" is the name of another module of Python', f'such as "my-{distribution}"'))
    return PluginNames(distribution, strategy, module, "".join(map(str.capitalize, strategy.split("-"))))


def _is_taken(module: str) -> bool:
    return keyword.iskeyword(module) or module in sys.stdlib_module_names or importlib.util.find_spec(module) is not None
