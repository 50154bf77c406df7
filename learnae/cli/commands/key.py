"""`learnae key`: the key of a new private swarm."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import click

from learnae.cli.commands import options
from learnae.outlets import tell


@click.command(short_help="Make the key of a private swarm.")
@click.option("--file", type=options.Place(dir_okay=False), help="Write it to this new file, which only you may read.")
@options.debug
def key(file: Path | None, debug: bool) -> None:
    """Make a key for a private swarm: whoever has it is a member, and nobody else learns what the swarm does.

    It is shown once and kept nowhere: `learnae key > swarm.key`, or --file, which overwrites nothing.
    """
    from learnae.cli.key_file import write_key
    from learnae.identity.swarm_keys import SwarmKey

    line = SwarmKey.generate().text()
    if file is None:
        if sys.stdout is None:
            raise click.UsageError("there is no output to show the key on: name a file by --file")
        _keep_to_the_owner()
        tell(line)
    else:
        write_key(file, f"{line}\n")
        tell(f'{file}: a new key, which only you may read; name it by key_file = "{file}" in [swarm]')


def _keep_to_the_owner() -> None:
    """Of a file that the shell has made for the output: nobody else may read it."""
    try:
        if stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode):
            os.fchmod(sys.stdout.fileno(), 0o600)
    except OSError:
        pass  # no stream of this process's own, or somebody else's file: whoever reads a key from a file checks its mode again
