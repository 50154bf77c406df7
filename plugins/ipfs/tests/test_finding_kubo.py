"""Whoever types a command in a folder of others runs no program that lies there."""

from __future__ import annotations

from pathlib import Path

import pytest

from learnae.errors import UnavailableError
from learnae_ipfs.managed.program import kubo

NAME = "ipfs"


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("path", ["", ".", ":/nowhere", "/nowhere:", "bin", "./bin:/nowhere", ".nodes"])
def test_no_program_is_looked_for_in_the_folder_of_work(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (".", "bin", ".nodes"):
        put(tmp_path / place / NAME)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", path)
    monkeypatch.delenv("LEARNAE_KUBO", raising=False)
    with pytest.raises(UnavailableError):
        kubo(None)


@pytest.mark.parametrize("named", [False, True], ids=["of the PATH", "named"])
def test_one_that_its_user_has_put_somewhere_is_found(named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = put(tmp_path / "bin" / NAME)
    monkeypatch.setenv("PATH", "/nowhere" if named else str(program.parent))
    monkeypatch.setenv("LEARNAE_KUBO", str(program) if named else "")
    assert kubo(None) == str(program)
