"""Where a neighbour may have put a link, what is written by its path leads elsewhere: each such place is known, and why it may."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "learnae", *(ROOT / "plugins").glob("*/learnae_*")]
ROOMS = {"learnae/opening.py", "learnae/shared_folder.py"}  # they are the way
STAGE = "in the stage of the demo, a new folder that is closed to others"
TANGLE = "in the folder of a private tangle, which is refused where others may write to it"
EXCEPTIONS = {
    "learnae/cli/export.py: draft.touch": "a new name that nobody can guess; it is refused where something is there",
    "learnae/demo/processes.py: log.open": STAGE,
    "learnae/demo/show.py: stage.key.touch": STAGE,
    "learnae/demo/show.py: stage.key.write_text": STAGE,
    "learnae/identity/keys.py: os.open": "a new file alone, by O_EXCL",
    "learnae/node/history_file.py: open": "in a new folder for temporary files, a new file alone",
    "learnae/node/history_file.py: os.open": "in a home, a new file alone, by O_EXCL",
    "learnae/testing/swarm.py: self.key_file.write_text": "in the folder of a test",
    "plugins/iota/learnae_iota/devnet/keys.py: (folder / 'config.json').write_text": TANGLE,
    "plugins/iota/learnae_iota/devnet/keys.py: (folder / 'keys.json').write_text": TANGLE,
    "plugins/iota/learnae_iota/devnet/node.py: self._unclean.touch": TANGLE,
    "plugins/iota/learnae_iota/devnet/program.py: log.open": TANGLE,
    "plugins/iota/learnae_iota/devnet/settings.py: (folder / 'config.json').write_text": TANGLE,
    "plugins/iota/learnae_iota/devnet/settings.py: (folder / 'peering.json').write_text": TANGLE,
    "plugins/iota/learnae_iota/devnet/settings.py: (folder / 'profiles.json').write_text": TANGLE,
    "plugins/iota/learnae_iota/devnet/settings.py: (folder / 'snapshot.csv').write_text": TANGLE,
    "plugins/iota/learnae_iota/devnet/tangle.py: open": "by a descriptor",
}
WRITERS = {"write_text", "write_bytes", "savefig", "touch"}
COPIES = {"copy", "copy2", "copyfile", "copytree", "copymode", "move"}
CREATES = ("O_CREAT", "O_TRUNC")


def written_by_path(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _writes(node):
            yield ast.unparse(node.func)


def _writes(call: ast.Call) -> bool:
    called = ast.unparse(call.func)
    name = called.rpartition(".")[2]
    if called.startswith("shutil."):
        return name in COPIES
    if called == "os.open":
        return any(flag in ast.unparse(call) for flag in CREATES)
    if name == "savefig":
        return ast.unparse(call.args[0]) != "picture"  # that is in memory
    if name == "open" and called not in ("folder.open", "History.open", "Database.open"):
        modes = [*call.args[1 if called in ("open", "io.open") else 0 :][:1], *(word.value for word in call.keywords if word.arg == "mode")]
        return any(isinstance(mode, ast.Constant) and isinstance(mode.value, str) and set(mode.value) & set("wax+") for mode in modes)
    return name in WRITERS and name != called


def found() -> set[str]:
    files = {path.relative_to(ROOT).as_posix(): path for source in SOURCES for path in source.rglob("*.py")}
    return {f"{name}: {by}" for name, path in files.items() if name not in ROOMS for by in written_by_path(path.read_text())}


def test_nothing_is_written_by_its_path_where_it_is_not_known_why_it_may() -> None:
    assert found() == set(EXCEPTIONS)


@pytest.mark.parametrize(
    "source",
    [
        *("figure.savefig(path)", "shutil.copy(a, b)", "shutil.copyfile(a, b)", "os.open(path, os.O_RDWR | os.O_CREAT)"),
        *("open(path, 'w')", "open(path, mode='ab')", "path.open('x')", "path.write_text(x)", "(a / b).write_bytes(x)", "path.touch()"),
    ],
)
def test_what_writes_by_a_path_is_found(source: str) -> None:
    assert list(written_by_path(source))


@pytest.mark.parametrize("source", ["open(path)", "path.open('rb')", "os.open(path, os.O_RDONLY)", "shutil.which(x)", "zip.open(entry)"])
def test_what_reads_is_let_be(source: str) -> None:
    assert not list(written_by_path(source))
