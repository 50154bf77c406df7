"""`learnae demo`: a swarm on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from learnae.cli import options

EMBEDDED = "directory"


@click.command()
@click.option("--out", type=options.PathParam(file_okay=False), default=Path("out"), show_default=True, help="Where the picture goes.")
@click.option("--storage", default=EMBEDDED, show_default=True, metavar="NAME", help="Where blocks lie; ipfs: in a daemon for each peer.")
@click.option(
    "--announcer",
    default=EMBEDDED,
    show_default=True,
    metavar="NAME",
    help="How peers hear; iota: over a tangle of three nodes.",
)
@click.option("--keep", is_flag=True, help="Keep the homes and the logs of the peers.")
@options.debug
def demo(out: Path, storage: str, announcer: str, keep: bool, debug: bool) -> None:
    """Four peers learn to read digits, each from two or three of the ten; one is killed half-way. Takes about a minute."""
    from learnae.cli.check import check_choice, check_offer
    from learnae.demo import show
    from learnae.demo.show import show_demo

    chosen = {"storage": storage, "announcer": announcer}
    for kind, name in chosen.items():
        if name in show.BUILDERS:
            check_offer(kind, name)
        elif name != EMBEDDED:
            check_choice(kind, show.table(name))
    if not show_demo(out, chosen, keep=keep):
        raise click.exceptions.Exit(1)
