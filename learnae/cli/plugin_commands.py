"""The commands that plugins offer. A mistake in one is shown in a line, and does not stop other commands."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

import attrs
import click

from learnae.errors import ConfigError, PluginError, Problem
from learnae.hookspecs import CommandEntry
from learnae.plugins.calls import described, naming
from learnae.plugins.hooks import COMMANDS_HOOK, ONLY, Installed, Plugin, hooks_of, installed, is_reference, only_named, resolve

NAME = re.compile(r"[a-z][a-z0-9-]*")


@attrs.frozen
class OfferedCommand:
    """A command, and the plugin that offers it."""

    name: str
    installed: Installed
    entry: CommandEntry

    @property
    def plugin(self) -> Plugin:
        """The plugin that offers the command."""
        return self.installed.plugin

    def load(self) -> click.Command:
        """Import the command.

        Raises PluginError if the plugin is for another Learnae, if the import fails, or if it is no click command.
        """
        self.installed.check()
        action = f"loading the command {self.name!r}"
        with naming(self.plugin.name, action):
            found = resolve(self.entry.place)
        if not isinstance(found, click.Command):
            raise PluginError(self.plugin.name, action, f"{self.entry.place} is no click command: put @click.command() above the function")
        return found


@attrs.frozen
class OfferedCommands:
    """The commands by name, the names that several plugins offer, and remarks on what is wrong, one line each."""

    commands: Mapping[str, OfferedCommand]
    clashes: Mapping[str, Problem]
    remarks: tuple[str, ...]

    def find(self, name: str) -> OfferedCommand | None:
        """The command of this name, or None. Raises ConfigError if several plugins offer it."""
        if name in self.clashes:
            raise ConfigError(self.clashes[name])
        return self.commands.get(name)


def find_offered(ours: Collection[str]) -> OfferedCommands:
    """Import the module of each plugin that is wanted, and ask it for commands. `ours` are names that plugins cannot take. Never raises."""
    offered: dict[str, list[OfferedCommand]] = {}
    remarks: list[str] = []
    try:
        found = installed()
    except Exception as error:  # metadata that somebody has damaged
        return OfferedCommands({}, {}, (f"installed plugins cannot be listed: {described(error)}",))
    only = only_named()
    wanted = [one for one in found if only is None or any(map(one.is_called, only))]
    for one in wanted:
        try:
            for command in _commands_of(one):
                offered.setdefault(command.name, []).append(command)
        except PluginError as error:
            remarks.append(f"{error}; its commands are left out")
    hidden = [command for name in ours for command in offered.pop(name, ())]
    remarks.extend(f"{_named(one)} offers the command {one.name!r}, which is one of Learnae: it is left out" for one in hidden)
    clashes = {name: _clash(several) for name, several in offered.items() if len(several) > 1}
    remarks.extend(map(str, clashes.values()))
    if left_out := [one.plugin.name for one in found if one not in wanted]:
        remarks.append(f"not looked at, because of {ONLY}: {', '.join(left_out)}")
    return OfferedCommands({name: one for name, (one, *more) in sorted(offered.items()) if not more}, clashes, tuple(remarks))


def _commands_of(one: Installed) -> Iterator[OfferedCommand]:
    """The commands that a plugin's hook offers.

    Whether the plugin is for this Learnae is checked when a command runs, or an import fails.
    """
    try:
        module = one.load(checked=False)
    except PluginError:
        one.check()
        raise
    for hook in hooks_of(one.plugin, module):
        if hook.name == COMMANDS_HOOK:
            returned = hook()
            if flaw := _flaw_of(returned):
                raise PluginError(one.plugin.name, f"running {hook.name}", flaw)
            yield from (OfferedCommand(name, one, entry) for name, entry in returned.items())


def _flaw_of(returned: object) -> str | None:
    if not isinstance(returned, Mapping):
        return f"it returned {returned!r} and not a mapping from name to learnae.CommandEntry"
    for name, entry in returned.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            return f"{name!r} is no name of a command: it must be of small letters, digits and -, and begin with a letter"
        if not isinstance(entry, CommandEntry):
            return f"{name!r} stands for {entry!r}, which is no learnae.CommandEntry"
        if not is_reference(entry.place):
            return f'{name!r} is at {entry.place!r}, which is not "module:name"'
        if len(str(entry.short_help).strip().splitlines()) != 1:
            return f"the short help of {name!r} is {entry.short_help!r} and not one line"
    return None


def _clash(several: Collection[OfferedCommand]) -> Problem:
    (name,) = {command.name for command in several}
    remedy = f"uninstall all but one, or name the plugins that are wanted: {ONLY}={next(iter(several)).plugin.name}"
    return Problem(f"learnae {name}", f"is offered by {' and by '.join(map(_named, several))}", remedy)


def _named(command: OfferedCommand) -> str:
    plugin = command.plugin
    return f"plugin {plugin.name!r}" + (f" of {plugin.distribution}" if plugin.distribution not in (None, plugin.name) else "")
