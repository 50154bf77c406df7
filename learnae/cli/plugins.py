"""`learnae plugins`: all strategies that can be chosen, the commands that plugins bring, and what is wrong with broken plugins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs
import click

from learnae.cli import options
from learnae.cli.options import on_terminal
from learnae.cli.plugin_commands import OfferedCommand, OfferedCommands
from learnae.errors import PluginError
from learnae.outlets import print_json, print_result
from learnae.plugins.hooks import BASES
from learnae.screen import Screen, Table, cell, line

if TYPE_CHECKING:
    from learnae.config.describe import OptionKey
    from learnae.plugins.manager import PluginManager
    from learnae.plugins.offers import StrategyOffer


def listing(manager: PluginManager, offered: OfferedCommands) -> dict[str, Any]:
    """JSON-ready: the strategies of each kind, the commands of plugins, the plugins that could not be loaded, and those left out."""
    return {
        "strategies": {kind: [_entry(offer) for _, offer in sorted(manager.offers(kind).items())] for kind in BASES},
        "commands": [_command(command) for _, command in sorted(offered.commands.items())],
        "command_clashes": [str(problem) for _, problem in sorted(offered.clashes.items())],
        "broken": [{"plugin": name, "error": str(error)} for name, error in sorted(manager.broken.items())],
        "left_out": sorted(manager.left_out),
    }


def show(found: dict[str, Any]) -> None:
    """Tables on a terminal, plain lines elsewhere."""
    if on_terminal():
        _show_tables(found)
    else:
        print_result(*_lines(found))


def _entry(offer: StrategyOffer) -> dict[str, Any]:
    source = {"name": offer.name, "plugin": offer.plugin, "distribution": offer.distribution, "version": offer.version}
    try:
        summary = offer.doc.partition("\n")[0]
        return {**source, "doc": summary, "options": [_option(key) for key in offer.options()], "error": None}
    except PluginError as error:  # found, but not usable: the others are listed all the same
        return {**source, "doc": "", "options": [], "error": str(error)}


def _command(command: OfferedCommand) -> dict[str, Any]:
    plugin = command.plugin
    source = {"name": command.name, "plugin": plugin.name, "distribution": plugin.distribution, "version": plugin.version}
    return {**source, "doc": command.entry.short_help.strip()}


def _option(key: OptionKey) -> dict[str, Any]:
    return {name: value for name, value in attrs.asdict(key).items() if name != "table"}


def _lines(found: dict[str, Any]) -> Iterator[str]:
    for kind, entries in found["strategies"].items():
        yield f"{kind}:"
        for entry in entries:
            yield f"  {entry['name']} ({_source(entry)}): {entry['error'] or entry['doc']}"
            yield from (f"    {_spelled(option)}" for option in entry["options"])
        if not entries:
            yield "  none"
    yield "commands:"
    yield from (f"  learnae {entry['name']} ({_source(entry)}): {entry['doc']}" for entry in found["commands"])
    if not found["commands"]:
        yield "  none"
    yield from (f"left out: {clash}" for clash in found["command_clashes"])
    yield from (f"broken: {line}" for line in _broken(found))
    yield from (f"left out: {name}" for name in found["left_out"])


def _show_tables(found: dict[str, Any]) -> None:

    console = Screen()
    for kind, entries in found["strategies"].items():
        table = Table("name", "from", "what it does, and its options", title=kind, title_justify="left", title_style="bold", expand=True)
        for entry in entries:
            about = cell(entry["error"] or entry["doc"], "red" if entry["error"] else "")
            for option in entry["options"]:
                about.append("\n").append_text(cell(_spelled(option), "dim"))
            table.add_row(cell(entry["name"], "cyan"), _source(entry), about)
        console.print(table if entries else line(kind, "bold").append("\nnone", style="not bold"))
    if found["commands"]:
        console.print(_table_of_commands(found["commands"]))
    for clash in found["command_clashes"]:
        console.print(line(f"left out: {clash}", "red"))
    for cause in _broken(found):
        console.print(line(f"broken: {cause}", "red"))
    for name in found["left_out"]:
        console.print(line(f"left out: {name}"))


def _table_of_commands(entries: list[dict[str, Any]]) -> Table:
    table = Table("command", "from", "what it does", title="commands of plugins", title_justify="left", title_style="bold", expand=True)
    for entry in entries:
        table.add_row(cell(f"learnae {entry['name']}", "cyan"), _source(entry), cell(entry["doc"]))
    return table


def _broken(found: dict[str, Any]) -> list[str]:
    return [broken["error"] for broken in found["broken"]]


def _source(entry: dict[str, Any]) -> str:
    """The distribution where there is one, with its version where that is known."""
    return " ".join(part for part in (entry["distribution"] or entry["plugin"], entry["version"]) if part)


def _spelled(option: dict[str, Any]) -> str:
    default = f" = {option['default']}" if option["default"] else ""
    bounds = f" Must be {' and '.join(option['bounds'])}." if option["bounds"] else ""
    doc = f" {option['doc']}" if option["doc"] else ""
    return f"{option['key']}{default} ({option['type']}){doc}{bounds}"


@click.command()
@options.as_json
@options.debug
def plugins(as_json: bool, debug: bool) -> None:
    """List all strategies by kind with their options, the commands of plugins, and the plugins that are broken."""
    from learnae.cli.main import COMMANDS
    from learnae.cli.plugin_commands import find_offered
    from learnae.logs import make_logger
    from learnae.plugins.manager import PluginManager

    found = listing(PluginManager.discover(log=make_logger("debug" if debug else "error")), find_offered(COMMANDS))
    if as_json:
        print_json(found, indent=2)
    else:
        show(found)
