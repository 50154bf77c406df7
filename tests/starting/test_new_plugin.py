"""`learnae new-plugin`: for each kind a package that works, and passes the tests of its kind."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from learnae.cli.main import main
from learnae.cli.new import KINDS
from learnae.config import options
from learnae.scaffold import MANY, SORTS, write_plugin

ROOT = Path(__file__).parents[2]
each_kind = pytest.mark.parametrize("kind", KINDS)


def test_there_is_one_for_each_kind_of_strategy() -> None:
    assert sorted(KINDS) == sorted(SORTS) == sorted(options.KINDS)
    assert set(MANY) == {name for name, kind in options.KINDS.items() if kind.many}


def test_it_says_what_it_wrote_and_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", "my-rule", "--kind", "merge"]) == 0
    written = sorted(str(path.relative_to(tmp_path / "my-rule")) for path in (tmp_path / "my-rule").rglob("*") if path.is_file())
    package = ["my_rule/__init__.py", "my_rule/merge.py", "pyproject.toml", "tests/test_my_rule.py"]
    assert written == [".gitignore", "README.md", *package]
    said = capsys.readouterr().out
    assert "pip install -e './my-rule[test]'" in said and "python -P -m pytest my-rule" in said and 'use = "my-rule"' in said


@pytest.mark.parametrize("above", ["my plugins", "$(touch PWNED)", '"; touch PWNED; "', "`touch PWNED`"])
def test_what_to_type_is_quoted_where_the_folder_needs_it(
    above: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = f"{above}/my-rule"
    assert main(["new-plugin", folder, "--kind", "merge"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    assert [shlex.split(line) for line in lines] == [
        ["pip", "install", "-e", f"./{folder}[test]"],
        ["python", "-P", "-m", "pytest", folder],
    ]
    subprocess.run(["sh", "-c", f"pip() {{ :; }}; python() {{ :; }}; {'; '.join(lines)}"], check=True, cwd=tmp_path)
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["new-plugin", "my-rule"], "Missing option '--kind'"),
        (["new-plugin", "my-rule", "--kind", "merger"], "'merger' is not one of"),
        (["new-plugin", "average", "--kind", "merge"], 'such as "my-average"'),
        (["new-plugin", "there", "--kind", "gate"], "is there already, and not empty"),
    ],
)
def test_what_cannot_be_made_is_for_the_user_to_mend(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes").touch()
    assert main(arguments) == 2
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@each_kind
def test_its_code_is_in_a_form_that_linters_accept(kind: str, tmp_path: Path) -> None:
    write_plugin(tmp_path / "my-plugin", kind, [])
    for command in (["check", "--select", "B,E,F,I,PT,SIM,UP"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--isolated", "--line-length", "140", "--target-version", "py311", "."]
        result = subprocess.run(ruff, cwd=tmp_path / "my-plugin", capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_each_passes_the_tests_of_its_kind(tmp_path: Path) -> None:
    """All in one process, whose imports take longer than most kits."""
    folders = {kind: tmp_path / f"my-{kind}" for kind in KINDS}
    for kind, folder in folders.items():
        write_plugin(folder, kind, [])
    command = [sys.executable, "-W", "error", "-m", "pytest", "-v", *(folder.name for folder in folders.values())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders.values())), "PYTEST_ADDOPTS": ""}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    passed = re.findall(r"/test_my_(\w+)\.py::\S+ PASSED", result.stdout)
    assert {*passed} == {*KINDS} and "skipped" not in result.stdout
