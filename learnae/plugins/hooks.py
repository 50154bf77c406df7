"""What one plugin implements: found and checked by pluggy, called one by one so that a failure names its plugin."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import pluggy

from learnae import hookspecs
from learnae.config.words import did_you_mean
from learnae.errors import PluginError
from learnae.plugins.calls import naming
from learnae.plugins.offers import BASES, Offer

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


def offers_in(hook: Hook, returned: Any) -> Iterator[Offer]:
    """The offers in what a registering hook returned. Raises PluginError for all but a mapping from name to class or "module:Class"."""
    action = f"running {hook.name}"
    if not isinstance(returned, Mapping):
        raise PluginError(hook.plugin.name, action, f"it returned {returned!r} and not a mapping from name to class")
    for name, target in returned.items():
        if not isinstance(name, str) or not name.strip() or ":" in name:
            raise PluginError(hook.plugin.name, action, f"{name!r} is no name: it must be text without a colon")
        if not isinstance(target, type) and not (isinstance(target, str) and _is_reference(target)):
            raise PluginError(hook.plugin.name, action, f'{name!r} stands for {target!r}, which is neither a class nor "module:Class"')
        yield Offer(REGISTER[hook.name], name, hook.plugin.name, target, hook.plugin.distribution, hook.plugin.version)


def _is_reference(target: str) -> bool:
    module, colon, name = target.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))
