"""`learnae rejoin`: leave the own lineage for another."""

from __future__ import annotations

import click

from learnae.cli.commands import options
from learnae.outlets import tell


@click.command(short_help="Move a peer to another lineage.")
@options.home
@click.argument("lineage", required=False, metavar="[LINEAGE]")
def rejoin(home: str | None, lineage: str | None) -> None:
    """Let the peer in HOME leave its lineage for LINEAGE (16 hexadecimal digits, as `learnae status` shows them), or for any other heard.

    Its own model is given up for one of that lineage. HOME is a peer's folder or its TOML file; without it, learnae.toml in this folder,
    else the home under the state folder.
    """
    from learnae.cli.orders.rejoin import order_rejoin

    for line in order_rejoin(home, lineage):
        tell(line)
