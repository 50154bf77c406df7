"""Whoever types a command in a folder of others runs no program that lies there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from learnae.errors import UnavailableError
from learnae.testing.context import make_context
from learnae_ipfs.managed.guard import guarded
from learnae_ipfs.managed.peer import settings_of
from learnae_ipfs.managed.program import kubo
from learnae_ipfs.managed.repo import Repo
from learnae_ipfs.options import IpfsStorageOptions
from tests.support.programs import PATHS_OF_THE_FOLDER_OF_WORK, put_in_folder_of_work, put_program

NAME = "ipfs"


@pytest.mark.parametrize("path", PATHS_OF_THE_FOLDER_OF_WORK)
def test_no_program_is_looked_for_in_the_folder_of_work(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_folder_of_work(tmp_path, NAME)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", path)
    monkeypatch.delenv("LEARNAE_KUBO", raising=False)
    with pytest.raises(UnavailableError):
        kubo(None)


@pytest.mark.parametrize("named", [False, True], ids=["of the PATH", "named"])
def test_one_that_its_user_has_put_somewhere_is_found(named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = put_program(tmp_path / "bin" / NAME)
    monkeypatch.setenv("PATH", "/nowhere" if named else str(program.parent))
    monkeypatch.setenv("LEARNAE_KUBO", str(program) if named else "")
    assert kubo(None) == str(program)


@pytest.mark.parametrize("path", PATHS_OF_THE_FOLDER_OF_WORK)
def test_what_guards_a_daemon_runs_no_program_of_the_folder_of_work(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sh", "seq", "sleep"):
        put_in_folder_of_work(tmp_path, name)
        for place in (".", "bin", ".nodes"):
            (tmp_path / place / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tmp_path / "daemon").write_text("#!/bin/sh\ntrap '' TERM\n/bin/sleep 1\n")
    (tmp_path / "daemon").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{path}:/usr/bin:/bin" if path else ":/usr/bin:/bin")
    environment = Repo(tmp_path / "repo").environment(settings_of(IpfsStorageOptions(), make_context(tmp_path / "home")))
    subprocess.run(guarded([str(tmp_path / "daemon")]), env=environment, stdin=subprocess.DEVNULL, check=False, timeout=60)
    assert not (tmp_path / "ran").exists()
    assert [entry for entry in environment["PATH"].split(":") if not entry.startswith("/")] == []
