"""The pages for those who start: what they show is what there is, and what they tell to run runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from learnae.cli.new import KINDS
from learnae.plugins.manager import open_document

ROOT = Path(__file__).parents[2]
DOCS, EXAMPLE = ROOT / "docs", ROOT / "examples" / "learnae-trimmed-mean"
HOW_TO = sorted((DOCS / "how-to").glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize(
    "file", ["pyproject.toml", "learnae_trimmed_mean/__init__.py", "learnae_trimmed_mean/merge.py", "tests/test_trimmed_mean.py"]
)
def test_the_page_on_plugins_shows_the_example_as_it_is(file: str) -> None:
    assert (EXAMPLE / file).read_text() in blocks(DOCS / "plugins.md", "toml" if file.endswith("toml") else "python")


def test_the_page_on_plugins_names_every_kind_and_its_kit() -> None:
    page = (DOCS / "plugins.md").read_text()
    assert [kind for kind in KINDS if f"| `{kind}` |" not in page] == []
    named = dict(re.findall(r"\| `learnae\.testing\.(\w+_kit)\.(\w+)` \|", page))
    assert sorted(named) == sorted(path.stem for path in (ROOT / "learnae" / "testing").glob("*_kit.py"))


@pytest.mark.slow
def test_the_example_passes_the_tests_of_its_kind() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(EXAMPLE), "-c", os.devnull, str(EXAMPLE)]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLE), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "skipped" not in result.stdout


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_every_file_that_is_shown_can_be_used(page: Path, tmp_path: Path) -> None:
    for text in blocks(page, "toml"):
        open_document(tomllib.loads(text), folder=tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", [page for page in HOW_TO if blocks(page, "python")], ids=lambda page: page.stem)
def test_every_piece_of_a_page_runs_after_those_above_it(page: Path, tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text("\n".join(blocks(page, "python")))
    result = subprocess.run([sys.executable, "-W", "error", "page.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_the_tutorial_shows_the_script_as_it_is_written() -> None:
    (function, _) = blocks(DOCS / "tutorial.md", "python")
    assert function in (ROOT / "learnae" / "scaffold" / "templates" / "project" / "train.py.tmpl").read_text()
