"""Whatever our programs show goes through the outlets, which make it harmless: nobody in the sources writes to a stream by himself.

A module that can write is used by its own name and with a dot alone, so that no other name hides what is called.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "learnae", *(ROOT / "plugins" / name / f"learnae_{name}" for name in ("iota", "ipfs", "libp2p"))]
OUTLETS = {"learnae/outlets.py", "learnae/screen.py"}
EXCEPTIONS = {
    "learnae/cli/storage.py: click.confirm": "a question, made harmless where it is asked",
    "learnae/demo/peer.py: sys.stdout.write": "JSON lines into the pipe of whoever plays the demo",
    "learnae/demo/peer.py: sys.stdout.flush": "the same",
    "learnae/demo/model.py: sys.stdout.write": "JSON into the pipe of whoever plays the demo",
    "plugins/iota/learnae_iota/light/__main__.py: sys.stdout.write": "a number that was counted here",
    "plugins/iota/learnae_iota/light/__main__.py: sys.stdout.flush": "the same",
    "plugins/libp2p/learnae_libp2p/streams/root_files.py: os.write": "blocks into a file",
    "plugins/libp2p/learnae_libp2p/streams/block_cache.py: os.write": "the same",
    "learnae/logs.py: logging.lastResort": "is replaced",
    "learnae/logs.py: warnings.showwarning": "is replaced",
    "learnae/errors.py: warnings.warn": "names of ours alone; Python adds the line of the code that used the old one",
    "learnae/launch.py: os.write": "to the trainer, which makes it harmless",
    "learnae/launch.py: sys.exit(_imported_main(module, told, int(arguments[arguments.index(LINK_OPTION) + 1]))())": "a code",
    "learnae/cli/main.py: sys.stdout": "is looked at",
    "learnae/cli/main.py: sys.stdout.reconfigure": "how it spells what is no text",
    "learnae/cli/new.py: sys.stdout": "is looked at",
    "learnae/plugins/manager.py: structlog.get_logger": "for whoever makes one by himself: our programs give it theirs",
    "learnae/cli/options.py: getattr(sys, stream)": "is asked whether a stream is a terminal",
}
LOOKED_AT = {
    "sys.stdout.fileno",
    "sys.stderr.fileno",
    "sys.__stderr__.fileno",
    "sys.__stderr__.closed",
    "sys.stderr.isatty",
    "sys.__stderr__",
}
STREAMS = {"stdout", "stderr", "__stdout__", "__stderr__"}
PRINTING = {"print", "pprint", "pp", "input", "exit", "quit", "breakpoint", "help", "__builtins__", "__import__"}
WRITERS = {  # of each module what writes, or has a module of its own that does
    "sys": {*STREAMS, "exit", "displayhook", "excepthook"},
    "os": {"write", "writev", "system", "popen"},
    "click": {
        *("echo", "secho", "style", "prompt", "confirm", "echo_via_pager", "progressbar", "edit", "launch", "pause", "clear"),
        *("get_text_stream", "get_binary_stream", "open_file", "utils", "termui", "formatting"),
    },
    "warnings": {"warn", "warn_explicit", "showwarning"},
    "logging": {"basicConfig", "StreamHandler", "lastResort"},
    "structlog": {"configure", "configure_once", "get_logger", "PrintLogger", "PrintLoggerFactory", "WriteLogger", "WriteLoggerFactory"},
    "traceback": {"print_exc", "print_exception", "print_stack", "print_tb", "print_last"},
}
NEVER = {"builtins", "pprint", "curses", "readline", "getpass"}
OF_RICH = {"rich.live": {"Live"}, "rich.console": {"Group"}, "rich": {"box"}}  # they show by the console that they are given
DEVICES = ("/dev/stdout", "/dev/stderr", "/dev/tty", "/dev/fd/", "/proc/self/fd/1", "/proc/self/fd/2")


class Shown(ast.NodeVisitor):
    """Collects what could show something past the outlets."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for name in node.names:
            top = name.name.split(".")[0]
            inner = "." in name.name and top not in ("os", "logging")
            if top in NEVER or top == "rich" or (top in WRITERS and (name.asname or inner)):
                self.found.append(f"import {name.name}")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        top = module.split(".")[0]
        for name in node.names:
            of_rich = top == "rich" and (name.name not in OF_RICH.get(module, ()) or name.asname is not None)
            if top in NEVER or of_rich or (top in WRITERS and name.name in {*WRITERS[top], "*"}):
                self.found.append(f"from {module} import {name.name}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain = ast.unparse(node)
        top, *rest = chain.split(".")
        if top not in WRITERS or not chain.replace(".", "").isidentifier():
            if node.attr == "print" and ast.unparse(node.value) not in ("console", "Screen()"):
                self.found.append(chain)
            self.generic_visit(node)
        elif rest[0] in WRITERS[top] and chain not in LOOKED_AT:
            self.found.append(chain)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in PRINTING or node.id in WRITERS:
            self.found.append(node.id)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and node.value.startswith(DEVICES):
            self.found.append(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func)
        if called in ("sys.exit", "SystemExit"):
            if not all(_is_code(value) for value in node.args):
                self.found.append(ast.unparse(node))
            for value in node.args:
                self.visit(value)
            return
        if called in ("getattr", "hasattr") and len(node.args) > 1 and ast.unparse(node.args[0]) in WRITERS:
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else None
            if name is None or name in WRITERS[ast.unparse(node.args[0])]:
                self.found.append(ast.unparse(node))
            for value in node.args[2:]:
                self.visit(value)
            return
        if called in ("open", "os.fdopen", "io.open") and node.args and ast.unparse(node.args[0]) in ("1", "2"):
            self.found.append(ast.unparse(node))
        if called == "Live" and "console" not in {word.arg for word in node.keywords}:
            self.found.append(ast.unparse(node))
        self.generic_visit(node)


def _is_code(value: ast.expr) -> bool:
    return ast.unparse(value) == "main()" or (isinstance(value, ast.Constant) and isinstance(value.value, int | None))


def shown_by_itself(source: str) -> Iterator[str]:
    looking = Shown()
    looking.visit(ast.parse(source))
    yield from looking.found


def found() -> set[str]:
    files = {path.relative_to(ROOT).as_posix(): path for source in SOURCES for path in source.rglob("*.py")}
    kept = {name: path for name, path in files.items() if name not in OUTLETS and "/testing/" not in name}
    return {f"{name}: {shown}" for name, path in kept.items() for shown in shown_by_itself(path.read_text())}


def test_all_that_is_shown_goes_through_the_outlets() -> None:
    assert found() == set(EXCEPTIONS)


@pytest.mark.parametrize(
    "source",
    [
        *("print(x)", "show = print", "list(map(print, x))", "f(show=print)", "__builtins__['print'](x)", "quit(x)", "input(x)"),
        *("import builtins\nbuiltins.print(x)", "from builtins import print as show", "import pprint", "from pprint import pp as show"),
        *("import click\nclick.echo(x)", "from click import echo", "from click import echo as e", "import click as c"),
        *("import click.utils", "from click.termui import secho", "import click\nclick.utils.echo(x)", "import click\nf(click)"),
        *("from click import *", "from rich.table import Table\nTable()", "from rich import print as show"),
        *("from rich.console import Console as C", "import rich.console\nrich.console.Console()", "import rich"),
        *("from rich.live import Live\nLive(x)", "from rich.pretty import pprint", "def f():\n    sys.stderr.write(x)", "out = sys.stdout"),
        *("f(sys.stdout)", "from sys import stdout", "import sys as s", "s = sys", "getattr(sys, 'stdout').write(x)"),
        *("getattr(os, name)(1, x)", "vars(sys)", "print(x, file=sys.stderr)", "sys.stdout.buffer.raw.write(x)", "thing.print(x)"),
        *("sys.exit(text)", "sys.exit(f'{x}')", "raise SystemExit(text)", "leave = sys.exit", "from sys import exit"),
        *("sys.exit(text or 1)", "os.write(1, x)", "from os import write", "w = os.write", "open(1, 'w')", "os.fdopen(2, 'w')"),
        *("open('/dev/tty', 'w')", "import warnings\nwarnings.warn(x)", "from traceback import print_exc", "import logging as l"),
        "structlog.get_logger()",
    ],
)
def test_what_shows_by_itself_is_found(source: str) -> None:
    assert list(shown_by_itself(source))


@pytest.mark.parametrize(
    "source",
    [
        *("import sys\nsys.exit(2)", "sys.exit(main())", "raise SystemExit", "raise SystemExit(1)", "import os.path\nos.getcwd()"),
        *("console.print(x)", "Screen().print(x)", "child.stdout.read()", "import click\nclick.option('-x')", "sys.stdout.fileno()"),
        *("from learnae.screen import Table\nTable()", "from rich.live import Live\nLive(x, console=console)"),
        *("if TYPE_CHECKING:\n    from rich.text import Text", "from os import path", "hasattr(os, 'posix_fallocate')"),
        *("open('/dev/shm/x')", "subprocess.run(x, stdout=y)"),
    ],
)
def test_what_shows_nothing_by_itself_is_let_be(source: str) -> None:
    assert not list(shown_by_itself(source))
