"""A history that its owner changes while another looks, and one that takes its time."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from learnae.errors import ConfigError
from learnae.identity.home_folder import HomeFolder
from learnae.node import history_file
from learnae.node.history import History

COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) SELECT count(*) FROM n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    with History.open(tmp_path / "history.sqlite") as history:
        history.save_lineage_state(b"lineage1", 1, 1.0)
    return tmp_path / "history.sqlite"


@pytest.fixture
def anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks is told that the home is another's."""
    monkeypatch.setattr(HomeFolder, "is_own", False)


@pytest.mark.usefixtures("anothers")
def test_the_history_of_another_is_copied_and_read(path: Path) -> None:
    with History.read(path) as history:
        assert history.lineage_state() == (b"lineage1", 1, 1.0)


@pytest.mark.usefixtures("anothers")
def test_a_history_that_was_exchanged_for_a_longer_one_is_not_copied(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner does that behind the look at its length."""
    monkeypatch.setattr(history_file, "check_files", lambda folder, name: True)
    with path.open("ab") as file:
        file.truncate(history_file.MOST_BYTES + 1)
    begin = time.process_time()
    with pytest.raises(ConfigError, match=f"{history_file.MOST_BYTES:,}"):
        History.read(path)
    assert time.process_time() - begin < 1.0


def test_a_copy_ends_where_the_file_ended_when_it_was_opened(tmp_path: Path) -> None:
    """It never ends where its writer is faster than the copy."""
    with Path("/dev/zero").open("rb") as source, (tmp_path / "copy").open("xb") as copy:
        history_file.copy_most(source, copy, 3 * (1 << 20) + 5)
    assert (tmp_path / "copy").stat().st_size == 3 * (1 << 20) + 5


def test_a_short_file_is_copied_whole(tmp_path: Path, path: Path) -> None:
    with path.open("rb") as source, (tmp_path / "copy").open("xb") as copy:
        history_file.copy_most(source, copy, 1 << 30)
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc: Linux has it")
def test_a_history_that_is_long_is_not_held_in_memory(path: Path) -> None:
    """Of the copy, only a few pages are."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany("INSERT INTO totals VALUES (?, 1)", ((f"{number:06}" + "x" * 5000,) for number in range(8000)))
    assert path.stat().st_size > 40_000_000
    before = resident()
    with History.read(path) as history:
        assert history.lineage_state()[1] == 1
        assert resident() - before < 20_000_000


def resident() -> int:
    """Bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_only_the_look_before_a_migration_has_a_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = time.monotonic
    with history_file.to_write(path) as connection:
        monkeypatch.setattr(time, "monotonic", lambda: really() + 100 * history_file.LOOK_SECONDS)
        assert connection.execute(COUNT).fetchone() == (200_000,)


def test_a_look_that_takes_too_long_throws_nothing_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(connection: sqlite3.Connection, path: Path) -> int:
        return int(connection.execute(COUNT).fetchone()[0])

    monkeypatch.setattr(history_file, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(history_file, "version_of", slow)
    with pytest.raises(ConfigError) as caught, history_file.to_write(path):
        pass
    assert "move it away" not in str(caught.value) and "try again" in str(caught.value)
