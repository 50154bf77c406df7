"""`learnae storage`: what a peer has stored."""

from __future__ import annotations

import click

from learnae.cli.commands import options
from learnae.cli.commands.output import on_terminal
from learnae.outlets import tell
from learnae.texts import harmless


@click.group(short_help="Remove what a peer has stored.")
def storage() -> None:
    """See to what a peer keeps in its storages, while it does not run."""


@storage.command(short_help="Drop all that a peer has published from its storages.")
@options.home
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.debug
def clear(home: str | None, yes: bool, debug: bool) -> None:
    """Drop all own updates of the peer in HOME from all storages of its file, after showing how many there are. What others have stays.

    Its key, its numbers, its checkpoints and what it knows of others stay too: it can run again, and publishes anew. In a private swarm the
    key is needed, as for a run. HOME is a peer's folder or its TOML file; without it, learnae.toml in this folder, else the home under the
    state folder. Only a TOML file that is named is a program: from a home, no code is run, and nobody off this machine is asked.
    """
    from learnae.cli.clearing.clear import ClearArguments, clear_storages

    for line in clear_storages(ClearArguments(home, lambda question: _ask(question, yes=yes), debug=debug)):
        tell(line)


def _ask(question: str, *, yes: bool) -> None:
    from learnae.errors import ConfigError, Problem

    if yes:
        return
    if not on_terminal("stdin"):
        raise ConfigError(Problem("--yes", "is needed where nobody can be asked: this is no terminal", "add it if all of that is to go"))
    click.confirm(harmless(question), abort=True, err=True)
