"""The node imports what its trainer can, and no file of the user's shadows a module in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import learnae

CHECKOUT = Path(learnae.__file__).parents[1]
TRAINER = """
import json, sys
{before}
import learnae
{after}
import torch
torch.set_num_threads(1)
model = torch.nn.Linear(2, 1)
try:
    with learnae.join(model, config={config}) as swarm:
        while swarm.status.node != "running" and swarm.status.node_starts < 3:
            swarm.step()
        status = swarm.status
        print(json.dumps([status.node, status.node_starts]))
except learnae.LearnaeError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""
HOSTILE = "raise ImportError('a file of the user, in the place of a module')\n"
LOADED = "import secrets, sqlite3, logging, learnae.plugins.directory.storage; learnae.join"  # all that the trainer itself needs
CONFIG = "{'swarm': {'name': 'a'}}"
NAMES = ["secrets", "random", "numbers", "logging", "trio", "attrs", "structlog", "sqlite3", "learnae"]


def run(folder: Path, *, before: str = "", after: str = "", config: str = CONFIG, **environment: str) -> tuple[Any, str]:
    """What a trainer prints whose script lies elsewhere: where it stands, and its stderr."""
    script = folder.parent / "scripts" / "train.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(TRAINER.format(before=before, after=after, config=config))
    settings = {**os.environ, **environment}
    done = subprocess.run([sys.executable, str(script)], cwd=folder, env=settings, capture_output=True, text=True, timeout=110, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with files that bear the names of modules."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(HOSTILE)
    return folder


@pytest.mark.slow
def test_files_in_the_folder_of_work_shadow_nothing_in_the_node(project: Path) -> None:
    assert run(project)[0] == ["running", 1]


@pytest.mark.slow
def test_nor_do_those_of_a_folder_that_the_program_puts_first_on_its_path(project: Path) -> None:
    assert run(project, after=f"{LOADED}; sys.path.insert(0, {str(project)!r})")[0] == ["running", 1]


@pytest.mark.slow
def test_nor_those_that_the_environment_puts_first(project: Path) -> None:
    before = f"sys.path.remove({str(project)!r})"
    after = f"{LOADED}; sys.path.insert(0, {str(project)!r})"
    assert run(project, before=before, after=after, PYTHONPATH=str(project))[0] == ["running", 1]


@pytest.mark.slow
def test_a_checkout_that_only_the_program_knows_of_is_where_the_node_comes_from(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "project"
    elsewhere.mkdir()
    folder.mkdir()
    (elsewhere / "learnae").symlink_to(CHECKOUT / "learnae")
    (elsewhere / "used.py").write_text("import learnae\nclass Mine(learnae.ElementwiseMerge):\n    combine = None\n")
    (folder / "mine.py").write_text("from used import Mine\n")
    before = f"sys.path.insert(0, {str(elsewhere)!r})"
    assert run(folder, before=before, config="{'swarm': {'name': 'a'}, 'merge': {'use': 'mine:Mine'}}")[0] == ["running", 1]


@pytest.mark.slow
def test_an_archive_serves_as_well(tmp_path: Path) -> None:
    folder, archive = tmp_path / "project", tmp_path / "learnae.zip"
    folder.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        for path in (CHECKOUT / "learnae").rglob("*"):
            if path.suffix in (".py", ".toml", ".json", ".typed"):
                file.write(path, path.relative_to(CHECKOUT))
    before = f"sys.path.insert(0, {str(archive)!r})"
    after = "assert '.zip' in learnae.__file__"
    assert run(folder, before=before, after=after)[0] == ["running", 1]


@pytest.mark.slow
def test_a_node_that_cannot_import_what_it_needs_says_so_at_once(tmp_path: Path) -> None:
    """As where the environment changes under a program that runs: it has its modules already."""
    folder, broken = tmp_path / "project", tmp_path / "broken"
    folder.mkdir()
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import sys\nif any(word == 'learnae.node' for word in sys.orig_argv):\n    sys.modules['trio'] = None\n"
    )
    (kind, text), err = run(folder, PYTHONPATH=str(broken))
    assert kind == "ConfigError" and "trio" in text and "cannot be started" in text
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_plugin_with_a_mistake_is_named_and_the_node_is_not_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "mine.py").write_text("def broken(:\n")
    (kind, text), _ = run(folder, config="{'swarm': {'name': 'a'}, 'merge': {'use': 'mine:Mine'}}")
    assert kind == "PluginError" and "mine.py" in text and "SyntaxError" in text
