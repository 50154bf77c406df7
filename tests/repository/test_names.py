"""The shape of the code: one name for one class, few files, no circle of imports, and no test support for users."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = [
    path for root in ("learnae", "plugins") for path in sorted((ROOT / root).rglob("*.py")) if "tests" not in path.relative_to(ROOT).parts
]
MOST_FILES = 267
"""Each file is a subject that one can name. Raise it for new subjects, named in the message of the commit, and fold slivers first."""

STAND_TWICE: Mapping[str, str] = {
    "LearnaeCallback": "the same for two libraries, each of which calls such a thing a callback: whoever has one of them imports that one",
    "Sensor": "the same in two forms: over any announcer, and over a tangle alone, which needs nothing but a socket",
}
"""Names of classes that mean two things, each with the reason why that misleads nobody."""


def named_twice(files: Sequence[Path]) -> dict[str, list[str]]:
    """Each name that more than one class has, with the files."""
    places = defaultdict[str, list[str]](list)
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path.name)
    return {name: found for name, found in places.items() if len(found) > 1}


def runtime_imports(node: ast.AST) -> Iterator[str]:
    """What a module imports anywhere, but for its annotations: `a.b` and `a.b.c` for `from a.b import c`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        else:
            yield from runtime_imports(child)


def circle(sources: Mapping[str, str]) -> list[str]:
    """Modules, by name and text, that import each other in a circle; none if there is none."""
    imports = {name: {*runtime_imports(ast.parse(text))} & sources.keys() - {name} for name, text in sources.items()}
    # `from package import module` needs the module, not what else the package's own file imports.
    needed = {name: {one for one in found if not any(other.startswith(f"{one}.") for other in found)} for name, found in imports.items()}
    try:
        TopologicalSorter(needed).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_no_two_classes_have_one_name() -> None:
    assert named_twice(CODE).keys() == STAND_TWICE.keys()


def test_a_name_that_stands_twice_is_found(tmp_path: Path) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("class Peer: ...\nclass Node: ...\n")
    other.write_text("def f():\n    class Peer: ...\n")
    assert named_twice([one, other]) == {"Peer": ["one.py", "other.py"]}


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle({module_of(path): path.read_text() for path in CODE if path.is_relative_to(ROOT / "learnae")}) == []


def test_a_circle_is_found_also_where_a_function_closes_it() -> None:
    closing = "def f():\n    from a.one import x\n"
    assert circle({"a.one": "import a.two", "a.two": closing})
    assert not circle({"a.one": "import a.two", "a.two": "if TYPE_CHECKING:\n    from a.one import x\n"})


def test_whatever_imports_a_module_of_ours_finds_it() -> None:
    """Also what only runs where a daemon is, or by hand: measurements, examples, tools."""
    files = {*CODE, *(ROOT / "tests").rglob("*.py")}
    ours = {module_of(path) for path in (*files, *(path.parent for path in files))}
    missing = [
        f"{path.relative_to(ROOT)}: {module}"
        for root in ("learnae", "plugins", "tests", "bench", "examples", "tools")
        for path in (ROOT / root).rglob("*.py")
        for module in re.findall(r"^ *from ((?:learnae|tests)(?:\.\w+)*) import ", path.read_text(), re.MULTILINE)
        if module not in ours
    ]
    assert missing == []


def test_who_looks_for_something_looks_through_few_files() -> None:
    assert len(list((ROOT / "learnae").rglob("*.py"))) <= MOST_FILES, "fold a sliver into what it serves"


def test_what_is_installed_holds_no_test_support() -> None:
    """The kits for authors of plugins are no test support: they are public."""
    packages = [
        folder
        for project in (ROOT / "pyproject.toml", *(ROOT / "plugins").glob("*/pyproject.toml"))
        for folder in tomllib.loads(project.read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    ]
    assert "learnae" in packages
    assert not any(name.startswith(("tests", "bench", "tools")) for name in packages)
    support = {path.stem for path in (ROOT / "tests" / "support").rglob("*.py")} - {"__init__"}
    of_tests = [str(path.relative_to(ROOT)) for path in CODE if "tests.support" in (text := path.read_text()) or "import conftest" in text]
    assert support and of_tests == []


def test_every_folder_of_modules_is_a_package() -> None:
    """Without its `__init__.py` one cannot be imported from an archive."""
    folders = {path.parent for path in CODE}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
