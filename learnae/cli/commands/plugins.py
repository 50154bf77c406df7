"""`learnae plugins`: what can stand behind `use`."""

from __future__ import annotations

import click

from learnae.cli.commands import options
from learnae.outlets import tell_json


@click.command(short_help="List all strategies, and broken plugins.")
@options.as_json
@options.debug
def plugins(as_json: bool, debug: bool) -> None:
    """List all strategies by kind, with their options, and the plugins that are broken."""
    from learnae.cli.plugin_list import listing, show
    from learnae.logs import make_logger
    from learnae.plugins.manager import PluginManager

    found = listing(PluginManager.discover(log=make_logger("debug" if debug else "error")))
    if as_json:
        tell_json(found, indent=2)
    else:
        show(found)
