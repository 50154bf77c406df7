"""`learnae demo`: a swarm on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from learnae.cli import options

EMBEDDED = "directory"


@click.command()
@click.option("--out", type=options.PathParam(file_okay=False), default=Path("out"), show_default=True, help="Where the picture goes.")
@click.option("--storage", default=EMBEDDED, show_default=True, metavar="NAME", help="Where blocks lie.")
@click.option("--announcer", default=EMBEDDED, show_default=True, metavar="NAME", help="How peers hear of each other.")
@click.option("--keep", is_flag=True, help="Keep the homes and the logs of the peers.")
@options.debug
def demo(out: Path, storage: str, announcer: str, keep: bool, debug: bool) -> None:
    """Four peers learn to read digits, each from two or three of the ten; one is killed half-way. Takes about a minute.

    --storage and --announcer take the names that `learnae plugins` lists. What these need, their plugins start for the demo.
    """
    from learnae.cli.check import check_choice, offered
    from learnae.demo.show import show_demo
    from learnae.logs import make_logger
    from learnae.plugins.manager import PluginManager

    manager = PluginManager.discover(log=make_logger("error"))
    chosen = {kind: offered(manager, kind, name) for kind, name in (("storage", storage), ("announcer", announcer))}
    if not show_demo(out, chosen, lambda kind, table: check_choice(manager, kind, table), keep=keep):
        raise click.exceptions.Exit(1)
