"""`learnae run`: a peer from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from learnae.cli.commands import options


@click.command(short_help="Train in a swarm as FILE says.")
@options.peer_file
@options.overrides
@click.option("--steps", type=click.IntRange(min=1), help="End when the model has made so many steps, those of earlier runs included.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="End after so many seconds.")
@click.option("--fresh", is_flag=True, help="Start anew: with a new model, and without what earlier runs left behind.")
@options.as_json
@options.debug
def run(file: Path, overrides: Sequence[str], steps: int | None, seconds: float | None, fresh: bool, as_json: bool, debug: bool) -> None:
    """Train in a swarm as FILE says, with the trainer of its [train] entry. Without FILE, as learnae.toml in this folder says.

    Ctrl-C ends it after the present step, with a checkpoint in the peer's home; the same command goes on from there.
    """
    from learnae.cli.run.peer import RunArguments, run_peer

    run_peer(RunArguments(file, tuple(overrides), steps, seconds, fresh=fresh, as_json=as_json, debug=debug))
