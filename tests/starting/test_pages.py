"""The pages for those who start: what they show is what there is, and what they tell to run runs."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from learnae.cli.new import KINDS
from learnae.errors import ConfigError, PluginError, Problem, UnavailableError, UpdateRejectedError
from learnae.identity.swarms import SwarmKey
from learnae.plugins.manager import open_document

ROOT = Path(__file__).parents[2]
DOCS, EXAMPLE = ROOT / "docs", ROOT / "examples" / "learnae-winsorized-mean"
HOW_TO = sorted((DOCS / "how-to").glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize(
    "file", ["pyproject.toml", "learnae_winsorized_mean/__init__.py", "learnae_winsorized_mean/merge.py", "tests/test_winsorized_mean.py"]
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


@pytest.fixture
def shared_folder(tmp_path: Path) -> Path:
    """The files of the page's storage and announcer, as somebody would copy them, and the folders that they ask for."""
    page = DOCS / "plugins.md"
    [code] = [block for block in blocks(page, "python") if "class FolderStorage(" in block]
    [kits] = [block for block in blocks(page, "python") if "class TestFolderStorage(" in block]
    [file] = [block for block in blocks(page, "toml") if "shared_folder:FolderStorage" in block]
    for name, text in (("shared_folder.py", code), ("test_shared_folder.py", kits), ("learnae.toml", file)):
        (tmp_path / name).write_text(text)
    (tmp_path / "blocks").mkdir()
    (tmp_path / "messages").mkdir()
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_storage_and_the_announcer_of_a_page_pass_all_of_their_kits(shared_folder: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", "."]
    result = subprocess.run(command, cwd=shared_folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "skipped" not in result.stdout


def test_the_file_that_a_page_shows_for_its_storage_and_announcer_can_be_used(shared_folder: Path) -> None:
    command = [sys.executable, "-m", "learnae", "check", "learnae.toml"]
    result = subprocess.run(command, cwd=shared_folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "shared_folder:FolderAnnouncer" in result.stdout


def test_the_page_on_plugins_shows_the_arguments_of_each_error_as_they_are() -> None:
    shown = dict(re.findall(r"\b(\w+Error|Problem)\(([a-z][^`]*)\)`", (DOCS / "plugins.md").read_text()))
    for error in (ConfigError, Problem, UnavailableError, UpdateRejectedError, PluginError):
        arguments = inspect.signature(error).parameters.values()
        assert shown[error.__name__] == ", ".join(
            each.name if each.default is each.empty else f"{each.name}={json.dumps(each.default) if each.default == '' else each.default}"
            for each in arguments
        )


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_every_file_that_is_shown_can_be_used(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_KEY", SwarmKey(bytes(range(32))).text())
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
