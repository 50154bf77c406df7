"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

peer_file = click.argument("file", type=click.Path(path_type=Path))
overrides = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Another value for a key of the file, such as train.local_steps=50."
)
home = click.argument("home", required=False)
as_json = click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")
debug = click.option("--debug", is_flag=True, help="Log everything, and show the traceback of a plugin that fails.")
