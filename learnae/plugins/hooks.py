"""What one plugin implements. pluggy checks it; hooks are called one by one, so that a failure names its plugin."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import pluggy

from learnae import hookspecs
from learnae.config.describe import OptionKey, describe_options
from learnae.config.options import hints_of
from learnae.config.words import did_you_mean
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
class StrategyOffer:
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
        if flaw := _flaw_of_class(found, self.kind):
            raise PluginError(self.plugin, action, flaw)
        strategy: type[Strategy] = found
        return strategy

    def options(self) -> list[OptionKey]:
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


def _flaw_of_class(found: Any, kind: str) -> str | None:
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


REGISTER = {f"learnae_register_{kind}": kind for kind in BASES}
WATCH = ("learnae_round_finished", "learnae_update_judged", "learnae_peer_changed")


@attrs.frozen
class Plugin:
    """A module, or any object with hooks, under the name that users know it by."""

    name: str
    distribution: str | None = None
    version: str | None = None


@attrs.frozen
class Hook:
    """One function of one plugin."""

    plugin: Plugin
    name: str
    implementation: pluggy.HookImpl

    def __call__(self, **arguments: Any) -> Any:
        """Raises PluginError for whatever it raises. It is given only the arguments that it asks for."""
        with naming(self.plugin.name, f"running {self.name}", ours=()):
            return self.implementation.function(*(arguments[name] for name in self.implementation.argnames))


def hooks_of(plugin: Plugin, module: object) -> list[Hook]:
    """Its hooks, each with a name and arguments that exist. Raises PluginError."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    with naming(plugin.name, "registering its hooks", ours=()):
        manager.register(module, plugin.name)
    callers = {name: caller for name, caller in vars(manager.hook).items() if isinstance(caller, pluggy.HookCaller)}
    hooks = [Hook(plugin, name, found) for name, caller in callers.items() for found in caller.get_hookimpls()]
    if not hooks:
        raise PluginError(plugin.name, "registering its hooks", "it has no function that is marked with @learnae.hookimpl")
    for hook in hooks:
        if flaw := _flaw_of(hook):
            raise PluginError(plugin.name, "registering its hooks", f"{hook.name} {flaw}")
    return [hook for hook in hooks if hook.name in (*REGISTER, *WATCH)]


def _flaw_of(hook: Hook) -> str | None:
    found = hook.implementation
    if hook.name not in (*REGISTER, *WATCH):
        return None if found.optionalhook else f"is not a hook of Learnae: {did_you_mean(hook.name, (*REGISTER, *WATCH))}"
    if inspect.iscoroutinefunction(found.function) or inspect.isasyncgenfunction(found.function):
        return "is `async def`, but hooks are plain functions: what blocks belongs into the strategy"
    if found.wrapper or found.hookwrapper or inspect.isgeneratorfunction(found.function):
        return "is a generator, but hooks are plain functions"
    return None


def offers_in(hook: Hook, returned: Any) -> Iterator[StrategyOffer]:
    """The offers in what a registering hook returned. Raises PluginError for all but a mapping from name to class or "module:Class"."""
    action = f"running {hook.name}"
    if not isinstance(returned, Mapping):
        raise PluginError(hook.plugin.name, action, f"it returned {returned!r} and not a mapping from name to class")
    for name, target in returned.items():
        if not isinstance(name, str) or not name.strip() or ":" in name:
            raise PluginError(hook.plugin.name, action, f"{name!r} is no name: it must be text without a colon")
        if not isinstance(target, type) and not (isinstance(target, str) and _is_reference(target)):
            raise PluginError(hook.plugin.name, action, f'{name!r} stands for {target!r}, which is neither a class nor "module:Class"')
        yield StrategyOffer(REGISTER[hook.name], name, hook.plugin.name, target, hook.plugin.distribution, hook.plugin.version)


def _is_reference(target: str) -> bool:
    module, colon, name = target.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))
