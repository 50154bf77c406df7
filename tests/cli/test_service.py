"""A unit for systemd: what it runs, where that may write, and names that a unit reads otherwise than a file does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from learnae.cli.main import main
from learnae.cli.service import unit
from learnae.errors import ConfigError
from learnae.identity.swarms import SwarmKey
from learnae.plugins.manager import open_document

Lines = dict[str, list[str]]


def lines_of(folder: Path, *, user: bool = False, memory: str | None = None, **tables: object) -> Lines:
    config, _ = open_document({"swarm": {"name": "digits", **tables.pop("swarm", {})}, **tables}, folder=folder, name=None)  # type: ignore[dict-item]
    found: Lines = {}
    for line in unit(config, folder / "learnae.toml", user=user, memory=memory):
        key, _, value = line.partition("=")
        found.setdefault(key, []).append(value)
    return found


def words(line: str, *, command: bool = False) -> list[str]:
    """As systemd reads them: quotes, backslashes, %%, and in commands alone $$."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line)
    read = [re.sub(r"\\(.)", r"\1", quoted or plain).replace("%%", "%") for quoted, plain in found]
    return [word.replace("$$", "$") for word in read] if command else read


def test_it_runs_the_file_again_after_a_crash_but_not_where_only_its_user_can_mend_it(tmp_path: Path) -> None:
    found = lines_of(tmp_path)
    assert words(found["ExecStart"][0], command=True)[-2:] == ["run", str(tmp_path / "learnae.toml")]
    assert (found["Restart"], found["RestartPreventExitStatus"]) == (["on-failure"], ["2 3"])


@pytest.mark.parametrize("name", ["a b", 'a"b', "50%", "$HOME", "back\\slash", "semi;colon", "it's"])
def test_a_folder_of_any_name_is_the_same_folder_to_systemd(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    found = lines_of(folder)
    assert words(found["ExecStart"][0], command=True)[-1] == str(folder / "learnae.toml")
    assert str(folder) in words(found["ReadWritePaths"][0])
    assert found["WorkingDirectory"] == [str(folder).replace("%", "%%")]


def test_a_home_that_is_not_there_yet_is_made_before_the_peer_is_shut_in(tmp_path: Path) -> None:
    home = tmp_path / "elsewhere" / "home"
    (folder := tmp_path / "project").mkdir()
    made = lines_of(folder, peer={"home": str(home)})["ExecStartPre"]
    assert [words(line, command=True)[-1] for line in made].count(str(home)) == 1
    assert all(line.startswith("+") for line in made), "systemd lets no other command begin where a folder is missing"


def test_a_name_with_a_line_break_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a\nExecStart=evil"
    folder.mkdir()
    with pytest.raises(ConfigError, match="another name"):
        lines_of(folder)


def test_it_may_write_where_the_file_says_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    project, shared = tmp_path / "project", tmp_path / "shared"
    project.mkdir()
    found = lines_of(project, peer={"home": str(tmp_path / "home")}, storage=[{"use": "directory", "path": str(shared)}])
    expected = {project, shared, tmp_path / "home", tmp_path / "state" / "learnae"}
    assert set(map(Path, words(found["ReadWritePaths"][0]))) == expected
    assert found["ProtectSystem"] == ["strict"]
    assert f"XDG_STATE_HOME={tmp_path / 'state'}" in [words(line)[0] for line in found["Environment"]]


def test_a_key_stays_out_of_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = SwarmKey.generate().text()
    monkeypatch.setenv("DIGITS_KEY", key)
    found = lines_of(tmp_path, swarm={"key_env": "DIGITS_KEY"})
    assert key.rpartition("-")[2] not in str(found)
    assert found["EnvironmentFile"] == [str(tmp_path / "learnae.env")]


def test_a_unit_of_a_user_asks_for_nothing_that_needs_root(tmp_path: Path) -> None:
    found = lines_of(tmp_path, user=True)
    assert found.keys().isdisjoint({"User", "ReadWritePaths", "ProtectSystem", "PrivateTmp"})
    assert found["WantedBy"] == ["default.target"]


def test_the_memory_is_bounded_as_asked(tmp_path: Path) -> None:
    assert lines_of(tmp_path, memory="8G")["MemoryMax"] == ["8G"]
    assert "MemoryMax" not in lines_of(tmp_path)


@pytest.mark.parametrize("memory", ["8 G", "much", "-1", "8G\nExecStart=evil"])
def test_a_size_that_is_none_is_refused_with_an_example(capsys: pytest.CaptureFixture[str], tmp_path: Path, memory: str) -> None:
    (tmp_path / "learnae.toml").write_text('[swarm]\nname = "digits"\n')
    code = main(["service", str(tmp_path / "learnae.toml"), "--memory", memory])
    shown = capsys.readouterr()
    assert code == 2 and "8G" in shown.err and not shown.out
