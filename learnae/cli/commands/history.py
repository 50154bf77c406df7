"""`learnae history`: round after round."""

from __future__ import annotations

import click

from learnae.cli.commands import options
from learnae.outlets import tell_json


@click.command(short_help="Show the rounds of a peer.")
@options.home
@click.option(
    "--rounds", "most", type=click.IntRange(min=1, max=1_000_000), default=20, show_default=True, help="How many of the newest to show."
)
@options.as_json
def history(home: str | None, most: int, as_json: bool) -> None:
    """Show the newest rounds of the peer in HOME, the last one at the end.

    HOME is a peer's folder or its TOML file; without it, learnae.toml in this folder, else the home under the state folder.
    """
    from learnae.cli.history_table import as_data, show
    from learnae.cli.homes.find import HISTORY, find_home
    from learnae.node.history import History

    with History.read(find_home(home) / HISTORY) as past:
        rounds = past.past_rounds(most)[::-1]
    if as_json:
        tell_json([as_data(one) for one in rounds], indent=2)
    else:
        show(rounds)
