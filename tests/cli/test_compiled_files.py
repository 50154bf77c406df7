"""Compiled files beside a user's code: none is read and none is written, since a neighbour may be able to write there."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = "import helpers\nfrom inner import deep\n\n\ndef make(): ...\n"
PLUGIN = "import helpers\nfrom learnae.plugins.merge import Average as Mine\n"
ASK = """
import sys
from pathlib import Path
from learnae.cli.entries import find_entry
from learnae.plugins.offers import LocalFiles
folder = Path(sys.argv[1])
if sys.argv[2] == "entry":
    find_entry("train:make", folder)
else:
    LocalFiles().find("mine:Mine", folder)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "inner").mkdir(parents=True)
    for name, source in {"train": SOURCE, "mine": PLUGIN, "helpers": "", "inner/__init__": "", "inner/deep": ""}.items():
        (folder / f"{name}.py").write_text(source)
    return folder


def plant(source: Path, ran: Path) -> None:
    """A compiled file that Python takes for one of this source."""
    evil = ran.with_name("evil.py")
    evil.write_text(f"import pathlib; pathlib.Path({str(ran)!r}).touch()\n{source.read_text()}")
    cached = importlib.util.cache_from_source(str(source))
    py_compile.compile(str(evil), cached, str(source), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def ask(project: Path, what: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON") or name == "PYTHONPATH"}
    command = [sys.executable, "-c", ASK, str(project), what]
    subprocess.run(command, env=environment, check=True, timeout=120)


@pytest.mark.parametrize("what", ["entry", "plugin"])
def test_no_compiled_file_that_lies_there_is_run(what: str, project: Path, tmp_path: Path) -> None:
    for source in project.rglob("*.py"):
        plant(source, tmp_path / "ran")
    ask(project, what)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("what", ["entry", "plugin"])
def test_none_is_written(what: str, project: Path) -> None:
    ask(project, what)
    assert not list(project.rglob("__pycache__"))


def test_a_virtual_environment_in_the_folder_is_imported_as_ever(project: Path, tmp_path: Path) -> None:
    packages = project / ".venv" / "packages"
    packages.mkdir(parents=True)
    (packages / "helpers.py").write_text("")
    (project / "helpers.py").unlink()
    script = f"import sys; sys.path.append({str(packages)!r})\n{ASK}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON") or name == "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", script, str(project), "entry"], env=environment, check=True, timeout=120)
    assert [path.name for path in project.rglob("*.pyc")] == [Path(importlib.util.cache_from_source("helpers.py")).name]
