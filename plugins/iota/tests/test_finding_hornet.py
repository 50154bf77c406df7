"""Whoever types a command in a folder of others runs no program that lies there."""

from __future__ import annotations

from pathlib import Path

import pytest

from learnae.errors import ConfigError
from learnae_iota.devnet import find_hornet
from learnae_iota.devnet.program import environment
from tests.support.programs import PATHS_OF_THE_FOLDER_OF_WORK, put_in_folder_of_work, put_program

NAME = "hornet"


@pytest.mark.parametrize("path", PATHS_OF_THE_FOLDER_OF_WORK)
def test_no_program_is_looked_for_in_the_folder_of_work(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_folder_of_work(tmp_path, NAME)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", path)
    monkeypatch.delenv("LEARNAE_HORNET", raising=False)
    with pytest.raises(ConfigError):
        find_hornet()
    assert all(entry.startswith("/") for entry in environment()["PATH"].split(":"))


@pytest.mark.parametrize("named", [False, True], ids=["of the PATH", "named"])
def test_one_that_its_user_has_put_somewhere_is_found(named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = put_program(tmp_path / "bin" / NAME)
    monkeypatch.setenv("PATH", "/nowhere" if named else str(program.parent))
    monkeypatch.setenv("LEARNAE_HORNET", str(program) if named else "")
    assert find_hornet() == str(program)
