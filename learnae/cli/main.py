"""The command `learnae`. The module of a command is imported only when it is needed, so that each command starts at once."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from learnae.cli import exit_codes
from learnae.hookspecs import CommandEntry
from learnae.outlets import print_message, print_result
from learnae.texts import harmless

if TYPE_CHECKING:
    from learnae.cli.plugin_commands import OfferedCommands


COMMANDS: Mapping[str, CommandEntry] = {
    "demo": CommandEntry(place="learnae.cli.new:demo", short_help="Four peers learn to read digits; one is killed."),
    "init": CommandEntry(place="learnae.cli.new:init", short_help="Make a project that `learnae run` runs as it is."),
    "run": CommandEntry(place="learnae.cli.run:run", short_help="Train in a swarm as FILE says."),
    "check": CommandEntry(place="learnae.cli.check:check", short_help="Name all that keeps FILE from running."),
    "service": CommandEntry(place="learnae.cli.service:service", short_help="Print a systemd unit that keeps FILE running."),
    "new-plugin": CommandEntry(place="learnae.cli.new:new_plugin", short_help="Make a package with a strategy of your own."),
    "key": CommandEntry(place="learnae.cli.new:key", short_help="Make the key of a private swarm."),
    "plugins": CommandEntry(place="learnae.cli.plugins:plugins", short_help="List all strategies, and broken plugins."),
    "status": CommandEntry(place="learnae.cli.status:status", short_help="Show how a peer is, and whom it hears."),
    "dashboard": CommandEntry(place="learnae.cli.dashboard.command:dashboard", short_help="Show peers as a page for a browser."),
    "why": CommandEntry(place="learnae.cli.why:why", short_help="Tell what became of each update, and why."),
    "history": CommandEntry(place="learnae.cli.history:history", short_help="Show the rounds of a peer."),
    "contributions": CommandEntry(place="learnae.cli.contributions:contributions", short_help="Show what each other peer gave."),
    "export": CommandEntry(place="learnae.cli.export:export", short_help="Write a peer's model to a safetensors file."),
    "deny": CommandEntry(place="learnae.cli.orders:deny", short_help="Hear a peer no more, from the next round on."),
    "allow": CommandEntry(place="learnae.cli.orders:allow", short_help="Hear a peer again that was denied."),
    "rejoin": CommandEntry(place="learnae.cli.orders:rejoin", short_help="Move a peer to another lineage."),
    "data": CommandEntry(place="learnae.cli.data:data", short_help="Show and remove rows that others have given."),
    "storage": CommandEntry(place="learnae.cli.storage:storage", short_help="Remove what a peer has stored."),
}
"""In the order of `--help`."""


_OFFERED, _OWNER = "learnae.offered", "learnae.owner"  # kept in a context: what plugins offer, and whose command it runs


class _Commands(click.Group):
    """A group whose commands are imported when somebody types them. No plugin is looked at for a command of our own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *_offered(ctx).commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module, _, name = COMMANDS[cmd_name].place.partition(":")
            own: click.Command = getattr(importlib.import_module(module), name)
            return own
        offered = _offered(ctx)
        command = offered.find(cmd_name)
        if command is None:
            _say_each(offered.remarks)  # one of them may be why it is not there
            return None
        ctx.meta[_OWNER] = command.plugin.name
        return command.load()

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Under the name that was typed: the function of a plugin's command may have any."""
        typed = args[0]
        name, command, rest = super().resolve_command(ctx, args)
        return typed if command is not None and name == command.name else name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            blamed = exit_codes.mistake_in_command(ctx.meta.get(_OWNER), error)
            if blamed is None:
                raise
            raise blamed from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.short_help) for name, entry in COMMANDS.items()])
        offered = _offered(ctx)
        if offered.commands:
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, harmless(command.entry.short_help)) for name, command in offered.commands.items()])
        _say_each(offered.remarks)


def _say_each(remarks: Sequence[str]) -> None:
    if remarks:
        print_message(*remarks)


def _offered(ctx: click.Context) -> OfferedCommands:
    """Looked for once, and only where it is asked for: this reads the metadata of all that is installed."""
    from learnae.cli.plugin_commands import find_offered

    found: OfferedCommands = ctx.meta[_OFFERED] if _OFFERED in ctx.meta else find_offered(COMMANDS)
    ctx.meta[_OFFERED] = found
    return found


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        try:
            print_result(f"learnae {metadata.version('learnae')}")
        except metadata.PackageNotFoundError:
            print_result("learnae, from a checkout that is not installed")
        context.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version.")
def learnae() -> None:
    """Unequal, unreliable machines train one PyTorch model together, with nobody in charge.

    Your own training loop uses learnae.join(). This command is for everything around it. Results go to stdout, logs to stderr.

    Exit codes: 0 done, 1 a bug of ours, 2 mend your file or command line, 3 mend a plugin, 4 try again, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    try:
        os.getcwd()
    except OSError as error:
        gone = click.UsageError(f"the folder that this is run in cannot be used: {error.strerror}; go to another one first")
        return exit_codes.report(gone)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    return exit_codes.run(learnae, "learnae", arguments)
