"""`learnae init`: a project that runs."""

from __future__ import annotations

from pathlib import Path

import click

from learnae.cli.commands import options
from learnae.outlets import tell
from learnae.texts import in_shell


@click.command(short_help="Make a project that `learnae run` runs as it is.")
@click.argument("folder", metavar="NAME", type=options.Place())
@click.option("--private", is_flag=True, help="With a key, without which nobody can take part.")
@options.debug
def init(folder: Path, private: bool, debug: bool) -> None:
    """Make the folder NAME with a peer's file, a training script on real data, and a page on how to go on.

    NAME is the name of the swarm too. A folder that has something in it is left alone.
    """
    from learnae.scaffold.project import FILES, KEY_FILE, missing_extras, write_project

    write_project(folder, private=private)
    if private:
        _write_key(folder / KEY_FILE)
    files = (*FILES, KEY_FILE) if private else FILES
    tell(f"{folder}: {', '.join(files)}", "", "Now type")
    if extras := missing_extras():
        tell(f'    pip install "learnae[{",".join(extras)}]"')
    tell(f"    cd {in_shell(folder)}", "    learnae run learnae.toml", "")
    tell("and in a second terminal, in the same folder, with images of its own: SHARE=1 learnae run learnae.toml")
    if private:
        tell(f"Whoever has {KEY_FILE} can take part, and nobody else: hand it on in a way that you trust.")


def _write_key(path: Path) -> None:
    from learnae.cli.key_file import write_key
    from learnae.identity.swarm_keys import SwarmKey

    write_key(path, SwarmKey.generate().text() + "\n")
