"""The installed plugins, and the hooks of each. pluggy checks the hooks. They are called one by one, so that an error names its plugin.

This module imports little, because `learnae --help` uses it to look for commands of plugins.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

import attrs
import pluggy

from learnae import hookspecs
from learnae.blocking_services import BlockingAnnouncer, BlockingStorage
from learnae.config.words import did_you_mean
from learnae.errors import PluginError
from learnae.plugins.calls import naming
from learnae.strategies import Announcer, Codec, Gate, Merge, Outer, Selector, Storage, Strategy

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

BASES: dict[str, tuple[type[Strategy], ...]] = {
    "storage": (Storage, BlockingStorage),
    "announcer": (Announcer, BlockingAnnouncer),
    "selector": (Selector,),
    "gate": (Gate,),
    "merge": (Merge,),
    "outer": (Outer,),
    "codec": (Codec,),
}

REGISTER = {f"learnae_register_{kind}": kind for kind in BASES}
WATCH = ("learnae_round_finished", "learnae_update_judged", "learnae_peer_changed")
COMMANDS_HOOK, DEMO = "learnae_register_commands", "learnae_register_demo"
HOOKS = (*REGISTER, COMMANDS_HOOK, DEMO, *WATCH)


@attrs.frozen
class Plugin:
    """The name of a plugin, as users know it, and its distribution."""

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
    return [hook for hook in hooks if hook.name in HOOKS]


def _flaw_of(hook: Hook) -> str | None:
    found = hook.implementation
    if hook.name not in HOOKS:
        return None if found.optionalhook else f"is not a hook of Learnae: {did_you_mean(hook.name, HOOKS)}"
    if inspect.iscoroutinefunction(found.function) or inspect.isasyncgenfunction(found.function):
        return "is `async def`, but hooks are plain functions: what blocks belongs into the strategy"
    if found.wrapper or found.hookwrapper or inspect.isgeneratorfunction(found.function):
        return "is a generator, but hooks are plain functions"
    return None


def resolve(place: str) -> Any:
    """What stands at "module:name". Raises whatever the import raises."""
    module, _, path = place.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found


def is_reference(place: object) -> bool:
    """Whether it has the form "module:name"."""
    if not isinstance(place, str):
        return False
    module, colon, name = place.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))


GROUP = "learnae"


@attrs.frozen
class Installed:
    """An entry point of the group `learnae`."""

    plugin: Plugin
    entry: metadata.EntryPoint

    def check(self) -> None:
        """Raises PluginError where it is for another Learnae. Not quick: this reads requirements as pip does."""
        check_bounds(self.plugin.name, self.entry.dist)

    def load(self, *, checked: bool = True) -> object:
        """Its module. Raises PluginError for whatever the import raises, also for an exit, and, unless not `checked`, what `check` does."""
        if checked:
            self.check()
        with naming(self.plugin.name, f"importing {self.entry.value}", ours=()):
            return self.entry.load()

    def is_called(self, name: str) -> bool:
        """Whether a user may mean it by this name: that of the plugin or of the distribution."""
        return _plain(name) in (_plain(self.plugin.name), _plain(self.plugin.distribution or ""))


def installed() -> list[Installed]:
    """All of them, in an order that does not depend on the file system."""
    found = [Installed(_plugin(entry), entry) for entry in metadata.entry_points(group=GROUP)]
    return sorted(found, key=lambda one: (one.plugin.distribution or "", one.plugin.name))


def unknown(names: Iterable[str], among: Iterable[Installed]) -> list[str]:
    """The names that none is called by."""
    known = list(among)
    return [name for name in names if not any(one.is_called(name) for one in known)]


def _plugin(entry: metadata.EntryPoint) -> Plugin:
    if entry.dist is None:
        return Plugin(entry.name)
    return Plugin(entry.name, entry.dist.name, entry.dist.version)


def _plain(name: str) -> str:
    """As package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


ONLY = "LEARNAE_PLUGINS"  # the names of the only third-party plugins that are loaded


def only_named() -> Sequence[str] | None:
    """What LEARNAE_PLUGINS says; None where it is not set."""
    named = os.environ.get(ONLY)
    return None if named is None else [name.strip() for name in named.split(",") if name.strip()]


US = "learnae"


def own_version() -> str | None:
    """Of Learnae as it is installed; None where it runs from a checkout."""
    try:
        return metadata.version(US)
    except metadata.PackageNotFoundError:
        return None


def bounds_around(version: str) -> str:
    """What a plugin that is written now asks for: this version and all those after it in which nothing public goes.

    Before 1.0 that is up to the next second number, from then on up to the next first one.
    """
    from packaging.version import Version

    found = Version(version)
    return f">={found.major}.{found.minor},<{found.major + 1 if found.major else f'0.{found.minor + 1}'}"


def check_bounds(plugin: str, distribution: metadata.Distribution | None) -> None:
    """Raises PluginError where the distribution asks for another version of Learnae than this one.

    Nothing is asked where it names no bounds, where Learnae runs from a checkout, and of requirements that cannot be read.
    """
    version = own_version()
    if distribution is None or version is None:
        return
    for bounds in _bounds_in(distribution.requires or ()):
        if not bounds.contains(version, prereleases=True):
            raise PluginError(plugin, "being matched with this Learnae", _misfit(distribution, bounds, version))


def _misfit(distribution: metadata.Distribution, bounds: SpecifierSet, version: str) -> str:
    name = distribution.name
    remedy = f'install a version of {name} that is for it, or a {US} that fits: pip install "{US}{bounds}"'
    return f"{name} {distribution.version} is for {US}{bounds}, and this is {US} {version}: {remedy}"


def _bounds_in(requirements: Iterable[str]) -> Iterator[SpecifierSet]:
    """Those of Learnae in these lines, as far as they hold here: not those of an extra, or of another system."""
    from packaging.markers import UndefinedEnvironmentName
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    for line in requirements:
        try:
            found = Requirement(line)
            holds = found.marker is None or found.marker.evaluate({"extra": ""})
        except (InvalidRequirement, UndefinedEnvironmentName):
            continue  # a mistake in what another package is wanted for keeps nobody from training
        if holds and canonicalize_name(found.name) == US:
            yield found.specifier
