"""The command `learnae`. What is heavy is imported by the command that needs it, so that `--help` comes at once."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import click

from learnae.cli import endings
from learnae.cli.commands.check import check
from learnae.cli.commands.demo import demo
from learnae.cli.commands.deny import allow, deny
from learnae.cli.commands.export import export
from learnae.cli.commands.history import history
from learnae.cli.commands.init import init
from learnae.cli.commands.key import key
from learnae.cli.commands.new_plugin import new_plugin
from learnae.cli.commands.plugins import plugins
from learnae.cli.commands.rejoin import rejoin
from learnae.cli.commands.run import run
from learnae.cli.commands.status import status
from learnae.cli.commands.storage import storage
from learnae.cli.commands.why import why
from learnae.outlets import tell


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        try:
            tell(f"learnae {metadata.version('learnae')}")
        except metadata.PackageNotFoundError:
            tell("learnae, from a checkout that is not installed")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version.")
def learnae() -> None:
    """Unequal, unreliable machines train one PyTorch model together, with nobody in charge.

    In your own training loop, use learnae.join(); this command is for everything around it. Results go to stdout, logs to stderr.

    Exit codes: 0 done, 1 a bug of ours, 2 mend your file or command line, 3 mend a plugin, 4 try again, 130 interrupted.
    """


for command in (demo, init, run, check, new_plugin, key, plugins, status, why, history, export, deny, allow, rejoin, storage):
    learnae.add_command(command)


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
