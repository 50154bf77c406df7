"""`learnae check`: everything but running."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from learnae.cli import endings
from learnae.cli.commands import options
from learnae.outlets import tell


@click.command(short_help="Name all that keeps FILE from running.")
@options.peer_file
@options.overrides
@options.debug
def check(file: Path, overrides: Sequence[str], debug: bool) -> None:
    """Look for everything that could keep FILE from running, without running it, and name all problems at once.

    Without FILE, it is learnae.toml in this folder.
    """
    from learnae.cli.check.examine import examine
    from learnae.logs import make_logger

    findings = examine(file, overrides, make_logger("debug" if debug else ""))
    if len(findings.problems.broken) > 1:  # an error of one plugin would hide those of the others
        raise click.exceptions.Exit(endings.say_all(findings.problems))
    findings.problems.raise_any()
    tell(*(f"ok  {what}" for what in findings.passed), f"{file} can be run.")
