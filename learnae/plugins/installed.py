"""The plugins that are installed in this environment, and which of them are wanted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata

import attrs

from learnae.plugins.calls import naming
from learnae.plugins.hooks import Plugin

GROUP = "learnae"


@attrs.frozen
class Installed:
    """An entry point of the group `learnae`."""

    plugin: Plugin
    entry: metadata.EntryPoint

    def load(self) -> object:
        """Its module. Raises PluginError for whatever the import raises, also for an exit."""
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
