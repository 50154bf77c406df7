"""`learnae export`: a model out of a home, for whatever comes after training."""

from __future__ import annotations

from pathlib import Path

import click

from learnae.cli.commands import options
from learnae.outlets import tell


@click.command(short_help="Write a peer's model to a safetensors file.")
@options.home
@click.argument("root", required=False, metavar="[ROOT]")
@click.option("-o", "--out", type=options.Place(dir_okay=False), required=True, help="The file to write, such as m.safetensors.")
@click.option("--published", is_flag=True, help="The newest update that was published, also where there is a checkpoint.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@options.debug
def export(home: str | None, root: str | None, out: Path, published: bool, force: bool, debug: bool) -> None:
    """Write the newest model of the peer in HOME to a safetensors file, or the one with this ROOT, its own or another peer's.

    Newest is the checkpoint of `learnae run`, exact and whole, else the newest update that was published: the shared tensors, as precise as
    its codec. HOME is a peer's folder or its TOML file; without it, learnae.toml in this folder, else the home under the state folder.
    Only a TOML file that is named is a program: from a home, no code is run, and nobody off this machine is asked.
    """
    from learnae.cli.export.choice import ExportArguments, export_model
    from learnae.cli.homes.find import home_and_rest

    home, root = home_and_rest(home, root)
    for line in export_model(ExportArguments(home, root, out, published=published, force=force, debug=debug)):
        tell(line)
