"""Whatever our programs show goes through the outlets, which make it harmless: nobody in the sources writes to a stream by himself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "learnae", ROOT / "plugins" / "iota" / "learnae_iota", ROOT / "plugins" / "ipfs" / "learnae_ipfs"]
OUTLETS = {"learnae/outlets.py", "learnae/screen.py"}
EXCEPTIONS = {
    "learnae/cli/commands/storage.py: click.confirm": "a question, made harmless where it is asked",
    "learnae/demo/peer.py: sys.stdout.write": "JSON lines into the pipe of whoever plays the demo",
    "learnae/demo/baselines.py: sys.stdout.write": "JSON into the pipe of whoever plays the demo",
    "plugins/iota/learnae_iota/light/__main__.py: sys.stdout.write": "a number that was counted here",
}
FORBIDDEN = {
    *("print", "pprint", "pprint.pprint", "warnings.warn", "logging.basicConfig", "structlog.configure"),
    *("click.echo", "click.secho", "click.style", "click.prompt", "click.confirm", "click.echo_via_pager"),
    *("sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer.write", "sys.stderr.buffer.write", "sys.stdout.writelines"),
    *("sys.__stdout__.write", "sys.__stderr__.write", "traceback.print_exc", "traceback.print_exception", "traceback.print_stack"),
    *("Console", "Table", "Table.grid", "Text", "Text.assemble", "Text.from_markup"),
}
ALSO_OURS = {"learnae.screen": {"Table"}}  # what may be called by such a name since it comes from there


def shown_by_itself(tree: ast.Module) -> Iterator[str]:
    ours = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in ALSO_OURS
        for name in node.names
        if name.name in ALSO_OURS[node.module]
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (called := ast.unparse(node.func)) in FORBIDDEN - ours:
            yield called


def found() -> set[str]:
    files = {path.relative_to(ROOT).as_posix(): path for source in SOURCES for path in source.rglob("*.py")}
    kept = {name: path for name, path in files.items() if name not in OUTLETS and "/testing/" not in name}
    return {f"{name}: {called}" for name, path in kept.items() for called in shown_by_itself(ast.parse(path.read_text()))}


def test_all_that_is_shown_goes_through_the_outlets() -> None:
    assert found() == set(EXCEPTIONS)


@pytest.mark.parametrize(
    "source",
    ["print(x)", "import click\nclick.echo(x)", "from rich.table import Table\nTable()", "def f():\n    sys.stderr.write(x)"],
)
def test_what_shows_by_itself_is_found(source: str) -> None:
    assert list(shown_by_itself(ast.parse(source)))
