"""`learnae status`: how a peer is."""

from __future__ import annotations

import click

from learnae.cli.commands import options
from learnae.outlets import tell_json


@click.command(short_help="Show how a peer is, and whom it hears.")
@options.home
@click.option("--peers", "most", type=click.IntRange(min=0), help="How many peers to list, those heard last: 20, with --json 1,000.")
@options.as_json
def status(home: str | None, most: int | None, as_json: bool) -> None:
    """Show how the peer in HOME is, whether it runs or not, and whom it hears.

    HOME is a peer's folder or its TOML file; without it, learnae.toml in this folder, else the homes under the state folder. Of several,
    each is shown in a line. This only reads, also beside a node that writes.
    """
    from learnae.cli.homes.find import find_homes
    from learnae.cli.status.facts import brief, facts

    homes = find_homes(home)
    if len(homes) > 1:
        found = {"homes": [brief(one) for one in homes]}
    else:
        found = facts(homes[0], most=(1000 if as_json else 20) if most is None else most)
    if as_json:
        tell_json(found, indent=2)
    else:
        from learnae.cli.status.tables import show

        show(found)
