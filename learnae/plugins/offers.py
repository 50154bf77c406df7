"""A strategy that can be chosen by name, known before it is imported."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import attrs

from learnae.config.describe import Key, describe_options
from learnae.config.options import hints_of
from learnae.errors import PluginError
from learnae.plugins.calls import naming
from learnae.strategies import Announcer, Codec, Gate, Merge, Outer, Selector, Storage, Strategy

BASES: dict[str, type[Strategy]] = {
    "storage": Storage,
    "announcer": Announcer,
    "selector": Selector,
    "gate": Gate,
    "merge": Merge,
    "outer": Outer,
    "codec": Codec,
}


@attrs.frozen
class Offer:
    """One name of one kind, and who offers it."""

    kind: str
    name: str
    plugin: str
    target: str | type  # "module:Class", or the class
    distribution: str | None = None
    version: str | None = None

    def load(self) -> type[Strategy]:
        """The class, imported on first use and checked against its kind. Raises PluginError."""
        action = f"loading the {self.kind} {self.name!r}"
        with naming(self.plugin, action):
            found = _resolve(self.target) if isinstance(self.target, str) else self.target
        if flaw := _flaw_of(found, self.kind):
            raise PluginError(self.plugin, action, flaw)
        strategy: type[Strategy] = found
        return strategy

    def options(self) -> list[Key]:
        """The keys of its TOML table. Raises PluginError."""
        return describe_options(self.load().Options, self.kind)

    @property
    def doc(self) -> str:
        """What its class says about itself. Raises PluginError."""
        return inspect.cleandoc(self.load().__dict__.get("__doc__") or "")


def _resolve(target: str) -> Any:
    module, _, path = target.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found


def _flaw_of(found: Any, kind: str) -> str | None:
    """What keeps an object from being a strategy of this kind, or None."""
    base = BASES[kind]
    if not isinstance(found, type):
        return f"{found!r} is not a class"
    if not issubclass(found, base):
        return f"{found.__qualname__} does not derive from learnae.{base.__name__}"
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        return f"{found.__qualname__} does not define {', '.join(missing)}"
    options: Any = found.Options
    if not (isinstance(options, type) and attrs.has(options)):
        return f"{found.__qualname__}.Options is not an attrs class"
    try:
        hints_of(options)
    except PluginError as error:
        return f"{options.__qualname__} cannot be read: {error.cause}"
    if issubclass(found, Announcer) and not isinstance(getattr(found, "max_bytes", None), int):
        return f"{found.__qualname__} does not define max_bytes"
    return None
