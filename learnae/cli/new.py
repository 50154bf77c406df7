"""`learnae demo`, `init`, `new-plugin` and `key`: what one begins with. A swarm to look at, a new project, a new plugin, a new key."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import click

from learnae.cli import options
from learnae.outlets import print_result
from learnae.texts import in_shell

EMBEDDED = "directory"


@click.command()
@click.option("--out", type=options.PathParam(file_okay=False), default=Path("out"), show_default=True, help="Where the picture goes.")
@click.option("--storage", default=EMBEDDED, show_default=True, metavar="NAME", help="Where blocks lie.")
@click.option("--announcer", default=EMBEDDED, show_default=True, metavar="NAME", help="How peers hear of each other.")
@click.option(
    "--data",
    type=click.Choice(["slices"]),
    help='"slices": five peers with two digits each share models, then 5 % of their rows, then both. Takes about two minutes.',
)
@click.option("--keep", is_flag=True, help="Keep the homes and the logs of the peers.")
@options.debug
def demo(out: Path, storage: str, announcer: str, data: str | None, keep: bool, debug: bool) -> None:
    """Four peers learn to read digits, each from two or three of the ten; one is killed half-way. Takes about a minute.

    With `--data slices` five peers have two digits each. They share their models, then a few of their images, then both.

    --storage and --announcer take the names that `learnae plugins` lists. What these need, their plugins start for the demo.
    """
    from learnae.cli.check import check_choice, offered
    from learnae.demo.show import A_KILL, AN_EXCHANGE, show_demo
    from learnae.logs import make_logger
    from learnae.plugins.manager import PluginManager

    manager = PluginManager.discover(log=make_logger("error"))
    chosen = {kind: offered(manager, kind, name) for kind, name in (("storage", storage), ("announcer", announcer))}
    programme = AN_EXCHANGE if data else A_KILL
    if not show_demo(out, chosen, lambda kind, table: check_choice(manager, kind, table), keep=keep, programme=programme):
        raise click.exceptions.Exit(1)


@click.command()
@click.option("--file", type=options.PathParam(dir_okay=False), help="Write it to this new file, which only you may read.")
@options.debug
def key(file: Path | None, debug: bool) -> None:
    """Make a key for a private swarm. Everybody who has the key is a member. Nobody else can see what the swarm does.

    The key is shown once, and kept nowhere. Save it by `learnae key > swarm.key`, or by --file, which overwrites nothing.
    """
    from learnae.identity.keys import write_secret
    from learnae.identity.swarms import SwarmKey

    line = SwarmKey.generate().text()
    if file is None:
        if sys.stdout is None:
            raise click.UsageError("there is no output to show the key on: name a file by --file")
        _keep_to_the_owner()
        print_result(line)
    else:
        write_secret(file, f"{line}\n")
        print_result(f'{file}: a new key, which only you may read; name it by key_file = "{file}" in [swarm]')


def _keep_to_the_owner() -> None:
    """Of a file that the shell has made for the output: nobody else may read it."""
    try:
        if stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode):
            os.fchmod(sys.stdout.fileno(), 0o600)
    except OSError:
        pass  # no stream of this process's own, or somebody else's file: whoever reads a key from a file checks its mode again


@click.command()
@click.argument("folder", metavar="NAME", type=options.PathParam())
@click.option("--private", is_flag=True, help="With a key, without which nobody can take part.")
@options.debug
def init(folder: Path, private: bool, debug: bool) -> None:
    """Make the folder NAME with a peer's file, a training script on real data, and a page on how to go on.

    NAME is also the name of the swarm. A folder that is not empty is left as it is.
    """
    from learnae.scaffold import FILES, KEY_FILE, missing_extras, write_project

    write_project(folder, private=private)
    if private:
        _write_key(folder / KEY_FILE)
    files = (*FILES, KEY_FILE) if private else FILES
    print_result(f"{folder}: {', '.join(files)}", "", "Now type")
    if extras := missing_extras():
        print_result(f'    pip install "learnae[{",".join(extras)}]"')
    print_result(f"    cd {in_shell(folder)}", "    learnae run learnae.toml", "")
    print_result("and in a second terminal, in the same folder, with images of its own:", "    SHARE=1 learnae run learnae.toml")
    if private:
        print_result(f"Whoever has {KEY_FILE} can take part, and nobody else: hand it on in a way that you trust.")


def _write_key(path: Path) -> None:
    from learnae.identity.keys import write_secret
    from learnae.identity.swarms import SwarmKey

    write_secret(path, SwarmKey.generate().text() + "\n")


KINDS = ("storage", "announcer", "selector", "gate", "merge", "outer", "codec")


@click.command("new-plugin")
@click.argument("folder", metavar="NAME", type=options.PathParam())
@click.option("--kind", type=click.Choice(KINDS), required=True, help="Which of the seven kinds of strategies it offers.")
@options.debug
def new_plugin(folder: Path, kind: str, debug: bool) -> None:
    """Make the folder NAME with a package that can be installed, a strategy that works, and the tests that its kind must pass.

    NAME is the name of the package. Without `learnae-` it is the name of the strategy, for `use` in a peer's file.
    """
    from learnae.logs import make_logger
    from learnae.plugins.manager import PluginManager
    from learnae.scaffold import write_plugin

    taken = PluginManager.discover(log=make_logger("debug" if debug else "error")).offers(kind)
    names = write_plugin(folder, kind, taken)
    print_result(f"{folder}: the {kind} {names.strategy!r}, in {names.module}/{kind}.py", "", "Now type")
    place = folder if folder.is_absolute() else f"./{folder}"
    print_result(f"    pip install -e {in_shell(f'{place}[test]')}")
    print_result(f"    python -P -m pytest {in_shell(folder)}", "", f'and name it in a peer\'s file: use = "{names.strategy}"')
