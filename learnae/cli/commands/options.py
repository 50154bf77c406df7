"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]
PEER_FILE = "learnae.toml"


class Place(click.Path):
    """A path, with `~` also where no shell has seen to it, as in `--out=~/m.safetensors`."""

    def __init__(self, **bounds: Any) -> None:
        super().__init__(path_type=Path, **bounds)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            text = os.fspath(value)
            if not text or "\0" in text:
                self.fail("a path is not empty, and has no NUL in it", param, ctx)
            return super().convert(Path(text).expanduser(), param, ctx)
        except RuntimeError:
            self.fail(f"there is no home folder to begin {value!r} with: write the whole path", param, ctx)


def _peer_file(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path:
    """As for the commands about homes: a file, a folder with one in it, or the one in this folder."""
    file = Path(PEER_FILE) if value is None else value / PEER_FILE if os.path.isdir(value) else value
    if value is None and not os.path.exists(file):
        raise click.BadParameter(f"there is no {PEER_FILE} in this folder: name a peer's file, or `learnae init NAME` makes a project")
    return file


peer_file = click.argument("file", type=Place(), required=False, callback=_peer_file)
overrides = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Another value for a key of the file, such as train.local_steps=50."
)
home = click.argument("home", required=False)
as_json = click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")
debug = click.option("--debug", is_flag=True, help="Log everything, and show the traceback of a plugin that fails.")
