"""`learnae deny` and `learnae allow`: whom a peer hears, while it runs."""

from __future__ import annotations

import click

from learnae.cli.commands import options
from learnae.outlets import tell

peer = click.argument("peer", required=False, metavar="PEER")


@click.command(short_help="Hear a peer no more, from the next round on.")
@options.home
@peer
def deny(home: str | None, peer: str | None) -> None:
    """Let the peer in HOME hear PEER no more: from the next round on if it runs, and until `learnae allow`.

    PEER is a whole key, or the beginning of that of one that was heard, 4 digits at least. HOME is a peer's folder or its TOML file;
    without it, learnae.toml in this folder, else the home under the state folder.
    """
    from learnae.cli.orders.deny_allow import order_deny

    for line in order_deny(home, peer):
        tell(line)


@click.command(short_help="Hear a peer again that was denied.")
@options.home
@peer
def allow(home: str | None, peer: str | None) -> None:
    """Let the peer in HOME hear PEER again: takes `learnae deny` back, but neither what the file says nor a proof of equivocation.

    PEER and HOME are named as for `learnae deny`.
    """
    from learnae.cli.orders.deny_allow import order_allow

    for line in order_allow(home, peer):
        tell(line)
