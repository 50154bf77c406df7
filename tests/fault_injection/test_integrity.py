"""What killed peers leave: a file that nobody finished is one thing, a file that is broken another."""

from __future__ import annotations

from pathlib import Path

import pytest

from learnae.identity.keys import Identity
from tests.support.fault_injection.integrity import broken_files, unfinished_files


def a_home(state: Path) -> Path:
    home = state / "homes" / "swarm" / "peer"
    home.mkdir(parents=True)
    Identity.load_or_create(home / "key")
    return home


def test_a_whole_home_has_neither(tmp_path: Path) -> None:
    a_home(tmp_path)
    assert (broken_files(tmp_path), unfinished_files(tmp_path)) == ([], [])


@pytest.mark.parametrize("name", ["checkpoint/checkpoint.pt.new", "blocks/new.0123.456", "history.sqlite-journal"])
def test_what_a_kill_cut_off_is_unfinished_and_not_broken(tmp_path: Path, name: str) -> None:
    path = a_home(tmp_path) / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"half of")
    assert broken_files(tmp_path) == []
    assert unfinished_files(tmp_path) == [str(path.relative_to(tmp_path))]


@pytest.mark.parametrize("name", ["checkpoint/checkpoint.pt", "blocks/0123.456", "key"])
def test_what_a_peer_would_read_and_cannot_is_broken(tmp_path: Path, name: str) -> None:
    path = a_home(tmp_path) / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"half of")
    (flaw,) = broken_files(tmp_path)
    assert flaw.startswith(str(path.relative_to(tmp_path)))
    assert unfinished_files(tmp_path) == []
