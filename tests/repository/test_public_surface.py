"""What is public is written down, documented, and all that our plugins, our examples and our pages need."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import learnae
from learnae import lowlevel

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("learnae_reference", ROOT / "tools" / "reference.py")
assert SPEC is not None and SPEC.loader is not None
reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)

PAGE = ROOT / "docs" / "reference" / "public-names.md"
PUBLIC = {"learnae", "learnae.testing", "learnae.lowlevel"}

CODE = sorted([*ROOT.glob("plugins/*/learnae_*/**/*.py"), *ROOT.glob("examples/**/*.py")])
PAGES = sorted(
    [
        *(ROOT / "learnae" / "scaffold" / "templates").rglob("*.tmpl"),
        *(page for page in (ROOT / "docs").rglob("*.md") if "decisions" not in page.parts),
        *ROOT.glob("*.md"),
        *ROOT.glob("plugins/*/*.md"),
        *ROOT.glob("examples/*/*.md"),
    ]
)
IMPORT = re.compile(r"^\s*(?:from (learnae[\w.]*) import (\([^)]*\)|[^\n#]+)|import (learnae[\w.]*))", re.MULTILINE)


def imported(text: str) -> Iterator[tuple[str, str | None]]:
    """Each module of Learnae that this code imports from, and each name; None where it imports the module itself. Wherever it stands."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and _is_ours(node.module or ""):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names if _is_ours(alias.name))


def _is_ours(module: str) -> bool:
    return module.split(".")[0] == "learnae"


def written(text: str) -> Iterator[tuple[str, str | None]]:
    """The same for a text that is no whole program, such as a page or a template."""
    for module, names, alone in IMPORT.findall(text):
        if module and _is_ours(module):
            yield from ((module, name.split(" as ")[0].strip()) for name in names.strip("()").split(",") if name.strip())
        elif alone and _is_ours(alone):
            yield alone, None


def is_public(module: str, name: str | None) -> bool:
    """Whether anybody may import this name from that module."""
    if name is None:
        return module in PUBLIC
    if module.startswith(("learnae.testing.", "learnae.integrations.")):
        return name in {**reference.TESTING, **reference.INTEGRATIONS}.get(module, ())
    if f"{module}.{name}" in PUBLIC:
        return True
    return module in PUBLIC and name in getattr(importlib.import_module(module), "__all__", ())


def test_there_is_something_to_look_at() -> None:
    found = {file.relative_to(ROOT).parts[0] for file in CODE if any(imported(file.read_text()))}
    assert found == {"plugins", "examples"}
    assert any(file.suffix == ".tmpl" for file in PAGES if any(written(file.read_text())))


def test_our_plugins_and_examples_import_public_names_alone() -> None:
    private = [
        f"{file.relative_to(ROOT)}: {module}{f'.{name}' if name else ''}"
        for file in CODE
        for module, name in imported(file.read_text())
        if not is_public(module, name)
    ]
    assert not private


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_pages_and_templates_show_is_public(page: Path) -> None:
    private = [(module, name) for module, name in written(page.read_text()) if not is_public(module, name)]
    assert not private


TELL_OF_OLD_NAMES = {"CHANGELOG.md", "stability.md"}
OLD = re.compile(
    r"\.step\(samples=|\.flush\(seconds=|status\.(?:benched|last_words|facts)\b"
    r"|learnae\.(?:Kind|Trainer|Unavailable|UpdateRejected|NeedsTorch)\b"
)


SHOWN = [page for page in (*PAGES, *CODE) if page.name not in TELL_OF_OLD_NAMES]


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_nobody_is_shown_an_old_name(page: Path) -> None:
    assert OLD.findall(page.read_text()) == []


@pytest.mark.parametrize(
    ("code", "public"),
    [
        ("from learnae import join", True),
        ("import learnae", True),
        ("from learnae import lowlevel", True),
        ("from learnae.lowlevel import option", True),
        ("from learnae.testing.merge_kit import MergeConformance", True),
        ("from learnae.lowlevel import HttpTracer", False),
        ("from learnae import opening", False),
        ("from learnae.errors import Problem", False),
        ("def f():\n    import learnae.node", False),
        ("if TYPE_CHECKING:\n    from learnae.config.tables import Config", False),
        ("from learnae.testing.swarm import MemoryTrainer", False),
    ],
)
def test_what_counts_as_public(code: str, public: bool) -> None:
    assert [is_public(*found) for found in imported(code)] == [public]
    assert [is_public(*found) for found in written(code)] == [public]


def test_every_public_name_stands_in_the_list_and_says_what_it_is() -> None:
    pytest.importorskip("torch", reason="needs torch")
    text = PAGE.read_text()
    missing = []
    for module, names in reference.public_names().items():
        assert f"## `{module}`" in text
        for name in names:
            told = reference.summary(module, name)
            if not told or f"| `{name}` |" not in text:
                missing.append(f"{module}.{name}")
    assert not missing


def test_a_constant_that_is_explained_exists() -> None:
    assert reference.CONSTANTS.keys() <= {name for names in reference.public_names().values() for name in names}


def test_the_names_of_the_lowlevel_module_are_those_that_it_finds() -> None:
    assert sorted(lowlevel.__all__) == sorted(lowlevel._FROM) == sorted(dir(lowlevel))
    for name in lowlevel.__all__:
        assert getattr(lowlevel, name) is not None
    missing = "nothing_of_ours"
    with pytest.raises(AttributeError, match=rf"learnae\.lowlevel.*{missing}"):
        getattr(lowlevel, missing)


def test_the_names_of_the_first_module_are_those_that_it_shows() -> None:
    pytest.importorskip("torch", reason="needs torch")
    assert sorted(learnae.__all__) == dir(learnae)
    for name in learnae.__all__:
        assert getattr(learnae, name) is vars(learnae)[name], "it is looked for each time anew"


def answers_for_any_name(code: str) -> bool:
    """Whether a type checker takes any name of this module for one that is there."""
    return any(isinstance(line, ast.FunctionDef) and line.name == "__getattr__" for line in ast.parse(code).body)


def test_a_misspelt_name_is_an_error_to_a_type_checker() -> None:
    assert answers_for_any_name("def __getattr__(name: str) -> Any: ...")
    assert [str(file.relative_to(ROOT)) for file in (ROOT / "learnae").rglob("*.py") if answers_for_any_name(file.read_text())] == []


@pytest.mark.parametrize("module", ["learnae", "learnae.lowlevel"])
def test_a_public_module_is_imported_without_what_only_some_need(module: str) -> None:
    code = f"import sys, {module}; print(*({{'torch', 'numpy', 'trio', 'cryptography', 'libipld'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
