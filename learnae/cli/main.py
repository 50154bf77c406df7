"""The command `learnae`. A command's module is imported when it is needed, so that each comes at once."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence

import attrs
import click

from learnae.cli import endings
from learnae.outlets import tell


@attrs.frozen
class CommandEntry:
    """Where a command is, as "module:name", and what `--help` says of it."""

    place: str
    short_help: str


COMMANDS: Mapping[str, CommandEntry] = {
    "demo": CommandEntry("learnae.cli.demo:demo", "Four peers learn to read digits; one is killed."),
    "init": CommandEntry("learnae.cli.new:init", "Make a project that `learnae run` runs as it is."),
    "run": CommandEntry("learnae.cli.run:run", "Train in a swarm as FILE says."),
    "check": CommandEntry("learnae.cli.check:check", "Name all that keeps FILE from running."),
    "new-plugin": CommandEntry("learnae.cli.new:new_plugin", "Make a package with a strategy of your own."),
    "key": CommandEntry("learnae.cli.new:key", "Make the key of a private swarm."),
    "plugins": CommandEntry("learnae.cli.plugins:plugins", "List all strategies, and broken plugins."),
    "status": CommandEntry("learnae.cli.status:status", "Show how a peer is, and whom it hears."),
    "why": CommandEntry("learnae.cli.why:why", "Tell what became of each update, and why."),
    "history": CommandEntry("learnae.cli.history:history", "Show the rounds of a peer."),
    "export": CommandEntry("learnae.cli.export:export", "Write a peer's model to a safetensors file."),
    "deny": CommandEntry("learnae.cli.orders:deny", "Hear a peer no more, from the next round on."),
    "allow": CommandEntry("learnae.cli.orders:allow", "Hear a peer again that was denied."),
    "rejoin": CommandEntry("learnae.cli.orders:rejoin", "Move a peer to another lineage."),
    "storage": CommandEntry("learnae.cli.storage:storage", "Remove what a peer has stored."),
}
"""In the order of `--help`."""


class _Commands(click.Group):
    """A group whose commands are imported when one asks for them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.short_help) for name, entry in COMMANDS.items()])


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        try:
            tell(f"learnae {metadata.version('learnae')}")
        except metadata.PackageNotFoundError:
            tell("learnae, from a checkout that is not installed")
        context.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version.")
def learnae() -> None:
    """Unequal, unreliable machines train one PyTorch model together, with nobody in charge.

    In your own training loop, use learnae.join(); this command is for everything around it. Results go to stdout, logs to stderr.

    Exit codes: 0 done, 1 a bug of ours, 2 mend your file or command line, 3 mend a plugin, 4 try again, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    try:
        os.getcwd()
    except OSError as error:
        gone = click.UsageError(f"the folder that this is run in cannot be used: {error.strerror}; go to another one first")
        return endings.report(gone)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    return endings.run(learnae, "learnae", arguments)
