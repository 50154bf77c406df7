"""`learnae demo`: a swarm on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from learnae.cli.commands import options


@click.command(short_help="Four peers learn to read digits; one is killed.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("out"), show_default=True, help="Where the picture goes."
)
@click.option(
    "--storage", default="directory", show_default=True, metavar="NAME", help="Where blocks lie, such as ipfs: a daemon for each peer."
)
@click.option("--keep", is_flag=True, help="Keep the homes and the logs of the peers.")
@options.debug
def demo(out: Path, storage: str, keep: bool, debug: bool) -> None:
    """Four peers learn to read digits, each from two or three of the ten; one is killed half-way. Takes about a minute."""
    from learnae.cli.check.choices import check_choice
    from learnae.demo import scenery
    from learnae.demo.show import show_demo

    if storage != scenery.EMBEDDED:
        check_choice("storage", scenery.table(storage))

    if not show_demo(out, storage=storage, keep=keep):
        raise click.exceptions.Exit(1)
