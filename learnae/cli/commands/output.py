"""What several commands show in the same way."""

from __future__ import annotations

from typing import Any

import click


def echo_json(found: Any) -> None:
    """For programs."""
    import json

    click.echo(json.dumps(found, indent=2))
