"""docs/path-of-an-update.md against the code: who follows it finds each file, and in it each name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "path-of-an-update.md").read_text()
ROWS = re.findall(r"^\| (\d+) \| `([^`]+)` \| `([^`]+)` \| `([^`]+)` \| `([^`]+)` \|$", TEXT, re.MULTILINE)
CALLERS = {"Node": "learnae/node/node.py", "Supervisor": "learnae/trainer/supervisor.py", "Swarm": "learnae/trainer/swarm.py"}
"""Those who stand beside the path."""


def names_of(path: str) -> set[str]:
    """Classes, functions, and methods as `Class.method`."""
    tree = ast.parse((ROOT / path).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, *functions))}
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return names | {f"{owner.name}.{node.name}" for owner in classes for node in owner.body if isinstance(node, functions)}


def functions_of(path: str) -> dict[str, ast.AST]:
    """Methods as `Class.method`."""
    classes = [node for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.ClassDef)]
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {f"{owner.name}.{node.name}": node for owner in classes for node in owner.body if isinstance(node, functions)}


def uses(caller: ast.AST, method: str) -> bool:
    return any(isinstance(node, ast.Attribute) and node.attr == method for node in ast.walk(caller))


def test_each_step_enters_and_leaves_by_names_that_its_file_has() -> None:
    missing = [(path, name) for _, path, _, *names in ROWS for name in names if name not in names_of(path)]
    assert missing == []


def test_each_step_is_called_by_whom_the_table_names_and_that_is_a_step_before_or_stands_beside_the_path() -> None:
    for number, _, caller, enters, _ in ROWS:
        owner = caller.partition(".")[0]
        before = [path for other, path, *_ in ROWS if int(other) < int(number)]
        candidates = [CALLERS[owner]] if owner in CALLERS else before
        [found] = [functions[caller] for path in candidates if caller in (functions := functions_of(path))]
        assert uses(found, enters.partition(".")[2]), (caller, enters)


def test_your_step_calls_the_session() -> None:
    """It is the one call between two steps of the path that is in none of its files."""
    assert uses(functions_of(CALLERS["Swarm"])["Swarm.step"], "attend")
    assert "`Swarm.step` calls `Session.attend`" in " ".join(TEXT.split())


def test_the_path_is_counted_through_from_receiving_to_copying() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, len(ROWS) + 1))
    assert (ROWS[0][1], ROWS[-1][1]) == ("learnae/node/receive.py", "learnae/trainer/copying.py")
    assert re.findall(r"^(\d+)\. \*\*", TEXT, re.MULTILINE) == [number for number, *_ in ROWS]


def test_one_opens_at_most_twelve_files() -> None:
    named = set(re.findall(r"[\w/]+\.py", TEXT))
    assert len({path for _, path, *_ in ROWS}) <= 12
    assert named == {path for _, path, *_ in ROWS} | set(CALLERS.values())


def test_every_other_name_of_the_text_is_in_the_code() -> None:
    code = "\n".join(path.read_text() for path in ROOT.glob("learnae/**/*.py"))
    defined = set(re.findall(r"^ *(?:class|def|async def) (\w+)", code, re.MULTILINE))
    named = re.findall(r"`([A-Z]\w+)(?:\.(\w+))?`", TEXT)
    assert [name for pair in named for name in pair if name and name not in defined] == []
