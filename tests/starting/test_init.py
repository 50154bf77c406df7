"""`learnae init`: what it writes, and that it runs: alone, in company, and again."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from learnae.cli.main import main
from learnae.plugins.manager import open_peer_file
from learnae.scaffold import FILES, write_project

ROOT = Path(__file__).parents[2]


def accuracy(line: str) -> float:
    found = re.search(r"accuracy ([\d.]+)", line)
    return float(found.group(1)) if found else 0.0


def home(peer: Any) -> str:
    """The home that it named when it ended."""
    (name,) = re.findall(r"saved in \S*/(peer-\d)/checkpoint", "\n".join(peer.err))
    return str(name)


def test_it_says_what_it_wrote_and_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "x"]) == 0
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == sorted(FILES)
    assert "    cd x\n    learnae run learnae.toml\n" in capsys.readouterr().out


def test_it_shows_whose_model_a_peer_starts_from_and_the_line_works_once_it_is_no_comment(tmp_path: Path) -> None:
    write_project(tmp_path / "x")
    file = tmp_path / "x" / "learnae.toml"
    shown = re.sub(r"^# (trust = )\[.*\]", rf'\1["{"a" * 64}"]', file.read_text(), count=1, flags=re.MULTILINE)
    assert shown != file.read_text()
    file.write_text(shown)
    assert open_peer_file(file)[0].join.trust == ("a" * 64,)


@pytest.mark.parametrize("name", ["my swarm", "peers' own", "a $HOME"])
def test_what_to_type_leads_into_a_folder_of_any_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert main(["init", f"{name}/digits"]) == 0
    (line,) = re.findall(r"^    (cd .*)$", capsys.readouterr().out, re.MULTILINE)
    subprocess.run(["sh", "-c", f"{line} && test -f learnae.toml"], check=True)


def test_what_the_project_needs_and_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("learnae.scaffold.NEEDS", {"torch_that_is_not_there": "torch", "click": "demo"})
    assert main(["init", str(tmp_path / "x")]) == 0
    assert 'pip install "learnae[torch]"' in capsys.readouterr().out


def test_a_folder_that_has_something_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes").write_text("mine")
    assert main(["init", str(tmp_path)]) == 2
    assert "is there already, and not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_an_empty_folder_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "."]) == 0
    assert (tmp_path / "learnae.toml").exists()


def test_a_file_in_the_way_is_the_users_to_move(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_text("mine")
    assert main(["init", str(tmp_path / "x")]) == 2
    assert main(["init", str(tmp_path / "x" / "y")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_check_finds_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(tmp_path / "My digits-2")
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["check", str(tmp_path / "My digits-2" / "learnae.toml")]) == 0
    sys.modules.pop("train", None)
    assert "'My digits-2'" in capsys.readouterr().out


def test_a_private_project_has_a_key_that_only_its_owner_may_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "x"
    assert main(["init", str(folder), "--private"]) == 0
    assert (folder / "swarm.key").stat().st_mode & 0o777 == 0o600
    assert "swarm.key" in (folder / ".gitignore").read_text().splitlines()
    config, _ = open_peer_file(folder / "learnae.toml")
    assert config.swarm.key_file == folder / "swarm.key"
    assert "swarm.key can take part" in capsys.readouterr().out


def test_the_script_is_in_the_agreed_form(tmp_path: Path) -> None:
    write_project(tmp_path / "x")
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "pyproject.toml"), str(tmp_path / "x")]
        result = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_trains_a_second_one_joins_and_both_go_on_where_they_stopped(here: Any) -> None:
    here.run("learnae init x")
    project = here.at("x")
    first = project.start("learnae run learnae.toml")
    assert accuracy(first.shows(accuracy)) < accuracy(first.shows(lambda line: accuracy(line) > 0.75))
    second = project.start("SHARE=1 learnae run learnae.toml")
    second.counts("merged", 1)
    first.counts("merged", 1)
    keys = [folder.read_bytes() for folder in sorted(project.homes("x").glob("peer-*/key"))]
    assert [second.ends(), first.ends()] == [130, 130]
    assert (home(first), home(second)) == ("peer-1", "peer-2")

    first = project.start("learnae run learnae.toml")
    reached = first.goes_on_from()
    second = project.start("SHARE=1 learnae run learnae.toml")
    assert second.goes_on_from() < reached  # it began later
    assert [folder.read_bytes() for folder in sorted(project.homes("x").glob("peer-*/key"))] == keys
    assert accuracy(first.shows(accuracy)) > 0.75
    assert [second.ends(), first.ends()] == [130, 130]
    assert (home(first), home(second)) == ("peer-1", "peer-2")
