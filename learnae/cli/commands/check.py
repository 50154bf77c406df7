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
@click.option("--no-code", is_flag=True, help="Import nothing that FILE names, and ask nobody: for a file that is not yours.")
@options.debug
def check(file: Path, overrides: Sequence[str], no_code: bool, debug: bool) -> None:
    """Look for everything that could keep FILE from running, without running it, and name all problems at once.

    A peer's file is a program: the files that it names are imported to be looked at. Without FILE, it is learnae.toml in this folder.
    """
    from learnae.cli.check.examine import code_of, examine
    from learnae.logs import make_logger

    code = code_of(file, overrides)
    if code and not no_code:
        tell(f"{file} is a program: what it names in {file.absolute().parent} is imported now, {', '.join(code)}; --no-code leaves it out")
    findings = examine(file, overrides, make_logger("debug" if debug else ""), code=not no_code)
    if len(findings.problems.broken) > 1:  # an error of one plugin would hide those of the others
        raise click.exceptions.Exit(endings.say_all(findings.problems))
    findings.problems.raise_any()
    if no_code:
        left = f"left out: strategies, storages and announcers{''.join(f', {one}' for one in code)}"
        tell(*(f"ok  {what}" for what in findings.passed), left, f"{file} is sound as far as it was looked at.")
    else:
        tell(*(f"ok  {what}" for what in findings.passed), f"{file} can be run.")
