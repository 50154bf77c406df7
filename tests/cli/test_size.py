"""How much of the disk a home takes, while its peer works in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from learnae.cli.home_state import bytes_in


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_goes_meanwhile_takes_nothing_else_along(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        (tmp_path / f"{number}").write_bytes(bytes(8192))
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "file").write_bytes(bytes(8192))
    taken = sum(path.stat().st_blocks * 512 for path in tmp_path.rglob("*") if path.is_file())
    going = tmp_path / "going"
    going.mkdir() if what == "folder" else going.write_bytes(bytes(8192))
    really = os.scandir

    @contextmanager
    def scandir(path: str) -> Iterator[Iterator[os.DirEntry[str]]]:
        with really(path) as found:
            entries = sorted(found, key=lambda entry: entry.name != "going")  # it is the first
        if going.exists():
            going.rmdir() if what == "folder" else going.unlink()
        yield iter(entries)

    monkeypatch.setattr("os.scandir", scandir)
    assert bytes_in(tmp_path) == taken > 0
