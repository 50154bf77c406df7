"""`learnae new-plugin`: a package with a strategy."""

from __future__ import annotations

from pathlib import Path

import click

from learnae.cli.commands import options
from learnae.outlets import tell
from learnae.texts import in_shell

KINDS = ("storage", "announcer", "selector", "gate", "merge", "outer", "codec")


@click.command("new-plugin", short_help="Make a package with a strategy of your own.")
@click.argument("folder", metavar="NAME", type=options.Place())
@click.option("--kind", type=click.Choice(KINDS), required=True, help="Which of the seven kinds of strategies it offers.")
@options.debug
def new_plugin(folder: Path, kind: str, debug: bool) -> None:
    """Make the folder NAME with a package that can be installed, a strategy that works, and the tests that its kind must pass.

    NAME is the name of the package, and without `learnae-` that of the strategy: it stands after `use` in a peer's file.
    """
    from learnae.logs import make_logger
    from learnae.plugins.manager import PluginManager
    from learnae.scaffold.plugin import write_plugin

    taken = PluginManager.discover(log=make_logger("debug" if debug else "error")).offers(kind)
    names = write_plugin(folder, kind, taken)
    tell(f"{folder}: the {kind} {names.strategy!r}, in {names.module}/{kind}.py", "", "Now type")
    tell(f'    pip install -e "./{folder}[test]"' if not folder.is_absolute() else f'    pip install -e "{folder}[test]"')
    tell(f"    python -m pytest {in_shell(folder)}", "", f'and name it in a peer\'s file: use = "{names.strategy}"')
