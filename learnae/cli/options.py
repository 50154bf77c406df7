"""Options, formats and units that several commands share."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]
PEER_FILE = "learnae.toml"


class PathParam(click.Path):
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


peer_file = click.argument("file", type=PathParam(), required=False, callback=_peer_file)
overrides = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Another value for a key of the file, such as train.local_steps=50."
)
home = click.argument("home", required=False)
as_json = click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")
debug = click.option("--debug", is_flag=True, help="Log everything, and show the traceback of a plugin that fails.")


def on_terminal(stream: str = "stdout") -> bool:
    """Whether somebody sits there; a stream that was closed before the start is none."""
    found = getattr(sys, stream)
    return found is not None and found.isatty()


UNKNOWN = "?"
_MOST_BYTES = 1e15
_MOST_SECONDS = 86_400e4
_LAST_YEAR = 9999


def of_bytes(count: float) -> str:
    """Such as "0 B", "12 kB", "1.2 MB"; in steps of 1,000."""
    if not 0 <= count < _MOST_BYTES:
        return UNKNOWN
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.1f} {unit}" if count < 9.95 and unit != "B" else f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def of_count(count: int) -> str:
    """Such as "12,345", "1.23M"."""
    if count < 0:
        return UNKNOWN
    if count < 100_000:
        return f"{count:,}"
    return next((f"{count / size:.3g}{letter}" for letter, size in (("k", 1e3), ("M", 1e6), ("G", 1e9)) if count < 999.5 * size), "over 1T")


def counted(count: int, noun: str) -> str:
    """Such as "1 peer", "12 peers"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def took(seconds: float) -> str:
    """Such as "0.52", "1234"; without the unit."""
    if not 0 <= seconds < 100_000:
        return UNKNOWN
    return f"{seconds:.2f}" if seconds < 1000 else f"{seconds:.0f}"


def ago(seconds: float) -> str:
    """Such as "3 s", "12 min", "4 h", "2 d"."""
    if not seconds < _MOST_SECONDS:
        return UNKNOWN
    for unit, size, end in (("s", 1, 100), ("min", 60, 100 * 60), ("h", 3600, 48 * 3600)):
        if seconds < end:
            return f"{max(0.0, seconds) / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def moment(at: float, now: float) -> str:
    """The time of day here, with the day if it is another."""
    try:
        then, today = time.localtime(at), time.localtime(now)
    except (OverflowError, ValueError, OSError):
        return UNKNOWN
    if then.tm_year > _LAST_YEAR or at < 0:
        return UNKNOWN
    return time.strftime("%H:%M:%S" if then[:3] == today[:3] else "%Y-%m-%d %H:%M", then)
