"""`learnae why`: what became of an update."""

from __future__ import annotations

import click

from learnae.cli.commands import options
from learnae.outlets import tell, tell_json


@click.command(short_help="Tell what became of each update, and why.")
@options.home
@click.argument("subject", required=False, metavar="[PEER|ROOT]")
@click.option("--last", "most", type=click.IntRange(min=1, max=500), default=20, show_default=True, help="How many updates to tell of.")
@options.as_json
def why(home: str | None, subject: str | None, most: int, as_json: bool) -> None:
    """Tell what became of the updates of PEER, or of the one with this ROOT, newest first; of neither: what was not merged.

    PEER is the beginning of a key, 4 digits at least; ROOT the beginning of a root, 12 letters at least. HOME is a peer's folder or its
    TOML file; without it, learnae.toml in this folder, else the home under the state folder.
    """
    from learnae.cli.homes.find import find_home, home_and_rest
    from learnae.cli.why.facts import facts

    home, subject = home_and_rest(home, subject)
    found = facts(find_home(home), subject, most)
    if as_json:
        tell_json(found, indent=2)
    else:
        from learnae.cli.why.sentences import told

        tell(*told(found))
