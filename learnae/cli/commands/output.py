"""What several commands show in the same way, and where."""

from __future__ import annotations

import sys
from typing import Any

import click


def echo_json(found: Any) -> None:
    """For programs."""
    import json

    click.echo(json.dumps(found, indent=2))


def on_terminal(stream: str = "stdout") -> bool:
    """Whether somebody sits there; a stream that was closed before the start is none."""
    found = getattr(sys, stream)
    return found is not None and found.isatty()
