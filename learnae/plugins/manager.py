"""Finds the installed plugins and a peer's own files, and knows which strategies they offer and which plugins watch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import attrs
import structlog

from learnae.config.load import disabled, load_document, read
from learnae.config.rules import swarm_of
from learnae.config.words import did_you_mean
from learnae.errors import ConfigError, PluginError, Problem
from learnae.plugins import builtin
from learnae.plugins.hooks import (
    BASES,
    DEMO,
    ONLY,
    REGISTER,
    WATCH,
    Hook,
    Installed,
    Plugin,
    hooks_of,
    installed,
    only_named,
    own_version,
    unknown,
)
from learnae.plugins.offers import LocalFiles, StrategyOffer, offers_in, with_demos

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from learnae.config.tables import Config
    from learnae.identity.swarms import SwarmIdentity


TRACE = "LEARNAE_TRACE_HOOKS"  # "1" logs every call of a hook


@attrs.frozen
class PluginManager:
    """The plugins of one run. `broken` holds those that could not be loaded, with the reason. `left_out` holds those that were not wanted.

    `told` means that the process which started this one has already warned the user of both. Then they are logged at the level debug.
    """

    log: FilteringBoundLogger = attrs.field(factory=structlog.get_logger)
    trace: bool = False
    told: bool = False
    local: bool = True  # whether classes in files beside a document are imported
    plugins: list[Plugin] = attrs.field(factory=list, init=False)
    broken: dict[str, PluginError] = attrs.field(factory=dict, init=False)
    left_out: list[str] = attrs.field(factory=list, init=False)
    _offers: dict[str, dict[str, StrategyOffer]] = attrs.field(factory=lambda: {kind: {} for kind in BASES}, init=False)
    _watchers: list[Hook] = attrs.field(factory=list, init=False)
    _files: LocalFiles = attrs.field(factory=LocalFiles, init=False)

    @classmethod
    def discover(
        cls,
        disable: Iterable[str] = (),
        only: Iterable[str] | None = None,
        log: FilteringBoundLogger | None = None,
        *,
        told: bool = False,
        local: bool = True,
    ) -> Self:
        """The built-in plugins and the installed ones, without those in `disable`. `only`, or LEARNAE_PLUGINS, leaves out all others.

        A plugin that cannot be loaded is a warning. Raises PluginError if two plugins offer the same name of the same kind.
        """
        manager = cls(log or structlog.get_logger(), trace=os.environ.get(TRACE) == "1", told=told, local=local)
        manager.register(builtin, Plugin("learnae", "learnae", own_version()))
        for one in manager._wanted(tuple(disable), only_named() if only is None else tuple(only)):
            manager._try(one)
        return manager

    def register(self, module: object, plugin: Plugin) -> None:
        """Adds a plugin, or nothing of it. Raises PluginError if it breaks its contract or offers a name that is taken."""
        self._accept(plugin, *self._read(module, plugin))

    def offers(self, kind: str) -> Mapping[str, StrategyOffer]:
        """All strategies of a kind, by name."""
        return MappingProxyType(self._offers[kind])

    def find(self, kind: str, use: str, folder: Path) -> StrategyOffer:
        """What `use` names: an offer, or a class in a file of this folder. Raises ConfigError for what is not there."""
        if ":" in use:
            if not self.local:
                raise ConfigError(Problem("use", f"{use!r} is code in {folder}, which is not run here", "name the peer's own TOML file"))
            file, found = self._files.find(use, folder)
            return StrategyOffer(kind, use, file, found)
        offers = self._offers[kind]
        if use not in offers:
            raise ConfigError(Problem("use", "; ".join([f'no {kind} is called "{use}"', *self._absent()]), did_you_mean(use, offers)))
        return offers[use]

    def options_of(self, folder: Path) -> Callable[[str, str], type]:
        """The options class of a strategy by kind and name, as `learnae.config.load` asks for it."""
        return lambda kind, use: self.find(kind, use, folder).load().Options

    def watchers(self, hook: str) -> Sequence[Hook]:
        """Who watches this hook."""
        if hook not in WATCH:
            raise ValueError(f"{hook} is not a hook of watchers: {WATCH}")
        return [watcher for watcher in self._watchers if watcher.name == hook]

    def notify(self, hook: str, **arguments: Any) -> None:
        """Calls each watcher; one that raises is logged and changes nothing. May block for as long as a plugin does."""
        for watcher in self.watchers(hook):
            self.notify_one(watcher, **arguments)

    def notify_one(self, watcher: Hook, **arguments: Any) -> None:
        """Calls this watcher; raises nothing."""
        try:
            self._call(watcher, **arguments)
        except Exception as error:
            self.log.warning("watcher.failed", plugin=watcher.plugin.name, hook=watcher.name, error=str(error))

    def _wanted(self, disable: Sequence[str], only: Sequence[str] | None) -> list[Installed]:
        found = installed()
        for name in unknown((*disable, *(only or ())), found):
            self._say("plugin.unknown", name=name, advice=f"no installed plugin is called so: mend {ONLY} or [plugins] disable")
        wanted = [one for one in found if not any(map(one.is_called, disable)) and (only is None or any(map(one.is_called, only)))]
        self.left_out.extend(one.plugin.name for one in found if one not in wanted)
        return wanted

    def _try(self, one: Installed) -> None:
        try:
            hooks, offers = self._read(one.load(), one.plugin)
        except PluginError as error:
            self.broken[one.plugin.name] = error
            self._say("plugin.broken", plugin=one.plugin.name, distribution=one.plugin.distribution, error=str(error))
        else:
            self._accept(one.plugin, hooks, offers)

    def _say(self, event: str, **facts: Any) -> None:
        say = self.log.debug if self.told else self.log.warning
        say(event, **facts)

    def _read(self, module: object, plugin: Plugin) -> tuple[list[Hook], list[StrategyOffer]]:
        hooks = hooks_of(plugin, module)
        offers = [offer for hook in hooks if hook.name in REGISTER for offer in offers_in(hook, self._call(hook))]
        for hook in hooks:
            if hook.name == DEMO:
                offers = with_demos(hook, self._call(hook), offers)
        return hooks, offers

    def _accept(self, plugin: Plugin, hooks: Iterable[Hook], offers: Iterable[StrategyOffer]) -> None:
        new = list(offers)
        for offer in new:
            if other := self._offers[offer.kind].get(offer.name):
                raise _taken(offer, other)
        for offer in new:
            self._offers[offer.kind][offer.name] = offer
        self._watchers.extend(hook for hook in hooks if hook.name in WATCH)
        self.plugins.append(plugin)

    def _call(self, hook: Hook, **arguments: Any) -> Any:
        returned = hook(**arguments)
        if self.trace:
            self.log.info("hook.called", plugin=hook.plugin.name, hook=hook.name, arguments=arguments, returned=returned)
        return returned

    def _absent(self) -> list[str]:
        """Why a name that should be there might not be."""
        out = [f"not loaded, because of [plugins] disable or {ONLY}: {', '.join(self.left_out)}"] if self.left_out else []
        return [*map(str, self.broken.values()), *out]


def _taken(offer: StrategyOffer, other: StrategyOffer) -> PluginError:
    cause = f"plugin {other.plugin!r} of {other.distribution} offers it already; leave one out with [plugins] disable"
    return PluginError(offer.plugin, f"offering the {offer.kind} {offer.name!r}", cause)


def open_peer_file(
    path: Path | None, *, name: str | None = None, overrides: Sequence[str] = (), log: FilteringBoundLogger | None = None
) -> tuple[Config, PluginManager]:
    """What a TOML file says, or the defaults, and the plugins that it leaves enabled. `name` stands for `swarm.name`.

    Raises ConfigError with all problems of the file, PluginError.
    """
    document, folder = ({}, Path.cwd()) if path is None else (read(path), path.absolute().parent)
    return open_document(document, folder=folder, name=name, overrides=overrides, log=log)


def read_swarm(path: Path) -> SwarmIdentity:
    """The swarm that a peer's TOML file names, with its key. Raises ConfigError, PluginError."""
    config, _ = open_peer_file(path)
    return swarm_of(config.swarm)


def open_document(
    document: Mapping[str, Any],
    *,
    folder: Path,
    name: str | None = None,
    overrides: Sequence[str] = (),
    log: FilteringBoundLogger | None = None,
    local: bool = True,
) -> tuple[Config, PluginManager]:
    """As `open_peer_file`, from a document: also one that `learnae.config.saved_config.dump` made. Without `local` no code of it runs."""
    manager = PluginManager.discover(disabled(document, overrides), log=log, local=local)
    config = load_document(document, folder=folder, name=name, overrides=overrides, options_of=manager.options_of(folder))
    return config, manager
