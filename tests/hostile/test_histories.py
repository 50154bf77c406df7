"""A history that somebody else has written: nothing in it does anything, takes for ever, or is taken for what it is not."""

from __future__ import annotations

import shutil
import sqlite3
import struct
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from learnae.cli.main import main
from learnae.errors import ConfigError, UnavailableError
from learnae.node import history_file
from learnae.node.history import History
from learnae.node.history_schema import APPLICATION_ID, STEPS
from learnae.records import AnnouncementKind
from tests.support.hostile.given_homes import hostile_home

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT"
OPENINGS = {"looked at": History.read, "used": History.open}

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    History.open(tmp_path / "history.sqlite").close()
    return tmp_path / "history.sqlite"


def changed(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


EVIL = {
    "view": ("DROP TABLE rounds", f"CREATE VIEW rounds AS {ENDLESS} i AS round FROM n"),
    "another view": (f"CREATE VIEW more AS {ENDLESS} i FROM n",),
    "trigger": ("CREATE TRIGGER t AFTER INSERT ON denied BEGIN DELETE FROM own_numbers; END",),
    "index": ("CREATE INDEX i ON rounds (hex(zeroblob(100000000)))",),
    "computed column": ("ALTER TABLE denied ADD COLUMN c AS (hex(zeroblob(100000000)))",),
    "column": ("ALTER TABLE denied ADD COLUMN c",),
    "table less": ("DROP TABLE verdicts",),
    "table more": ("CREATE TABLE theirs (one)",),
    "virtual table": ("CREATE VIRTUAL TABLE v USING fts5(one)",),
    "older version": ("PRAGMA user_version = 1",),
    "no version": ("PRAGMA user_version = 0",),
    "negative version": ("PRAGMA user_version = -1",),
    "another program": ("PRAGMA application_id = 42",),
}


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
@pytest.mark.parametrize("statements", EVIL.values(), ids=EVIL)
def test_a_file_with_anything_but_our_tables_is_no_history_and_stays_as_it_was(
    path: Path, statements: tuple[str, ...], opening: Callable[[Path], History]
) -> None:
    changed(path, *statements)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="history"):
        opening(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
@pytest.mark.parametrize("damage", [(b"CREATE TABLE published", b"CREATE \xffABLE published"), (b"KEY, number", b"KEY\xff number")])
def test_a_complaint_of_sqlite_that_is_no_text_is_told_as_any_other(
    path: Path, damage: tuple[bytes, bytes], opening: Callable[[Path], History]
) -> None:
    path.write_bytes(path.read_bytes().replace(*damage))
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="history"):
        opening(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
def test_the_database_of_another_program_is_never_written_to(tmp_path: Path, opening: Callable[[Path], History]) -> None:
    path = tmp_path / "history.sqlite"
    changed(path, "CREATE TABLE theirs (one)", "INSERT INTO theirs VALUES (1)")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="no history"):
        opening(path)
    assert path.read_bytes() == before


def test_a_history_says_whose_it_is_and_an_older_one_learns_to(path: Path) -> None:
    def mark() -> int:
        with closing(sqlite3.connect(path)) as connection:
            return int(connection.execute("PRAGMA application_id").fetchone()[0])

    assert mark() == APPLICATION_ID
    changed(path, "PRAGMA application_id = 0")
    with History.read(path) as history:
        assert history.last_round() == 0
    assert mark() == 0  # who only looks changes nothing
    with History.open(path) as history:
        assert history.next_number(AnnouncementKind.UPDATE) == 1
    assert mark() == APPLICATION_ID


@pytest.mark.parametrize("version", range(1, len(STEPS) + 1))
def test_homes_of_all_earlier_versions_still_open(tmp_path: Path, version: int) -> None:
    path = tmp_path / "history.sqlite"
    changed(path, *(statement for step in STEPS[:version] for statement in step), f"PRAGMA user_version = {version}")
    for opening in OPENINGS.values():
        with opening(path) as history:
            assert history.last_round() == 0


def test_a_question_that_takes_too_long_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_file, "LOOK_SECONDS", 0.2)
    with History.read(path) as history:
        with pytest.raises(UnavailableError):
            history.database.rows(f"{ENDLESS} max(i) FROM n")
        assert history.last_round() == 0


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR REPLACE INTO totals VALUES ('merged', 'many')",
        "INSERT INTO standing VALUES (1, 'text', 1, 1.0)",
        "INSERT INTO heard VALUES (x'00', 1.0, 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        "INSERT INTO heard VALUES ('a', 1.0, x'00', 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    ],
)
def test_a_value_of_another_type_is_a_damaged_history_and_no_bug_of_ours(path: Path, statement: str) -> None:
    changed(path, statement)
    with History.read(path) as history, pytest.raises(UnavailableError, match="damaged"):
        history.reader.totals(), history.lineage_state(), history.reader.heard()


def test_a_long_value_is_not_taken_in(path: Path) -> None:
    changed(path, f"INSERT INTO counts VALUES (hex(zeroblob({history_file.LONGEST_VALUE})), 1)")
    with History.read(path) as history, pytest.raises((UnavailableError, ConfigError)):
        history.counts()


def test_to_recognise_a_history_takes_next_to_nothing(path: Path) -> None:
    began = time.process_time()
    for _ in range(20):
        History.read(path).close()
    assert (time.process_time() - began) / 20 < 0.1


MAGIC = bytes.fromhex("d9d505f920a163d7")
PAGE = 4096
FORMATS = {"with a journal": "DELETE", "with a log": "WAL"}
STARTS = {"hot": MAGIC, "cold": bytes(8)}
COMMANDS = {
    "clear": ("storage", "clear", "HOME", "--yes"),
    **{name: (name, "HOME", "5" * 64) for name in ("deny", "allow")},
    "rejoin": ("rejoin", "HOME"),
}


def naming_another(path: Path, victim: Path, start: bytes = MAGIC) -> bytes:
    """A journal as SQLite leaves it for a transaction over several databases: once it is played back, the file that it names goes."""
    pages = path.stat().st_size // PAGE
    head = (start + struct.pack(">5I", 0, 0, pages, 512, PAGE)).ljust(512, b"\0")
    name = str(victim).encode()
    return head + struct.pack(">I", (1 << 30) // PAGE + 1) + name + struct.pack(">II", len(name), sum(name) & 0xFFFFFFFF) + MAGIC


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("mode", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
def test_a_journal_that_names_another_file_is_refused_and_that_file_stays(
    path: Path, victim: Path, opening: Callable[[Path], History], mode: str, start: bytes
) -> None:
    changed(path, f"PRAGMA journal_mode = {mode}")
    journal = path.with_name(f"{path.name}-journal")
    journal.write_bytes(naming_another(path, victim, start))
    before = path.read_bytes(), journal.read_bytes()
    with pytest.raises(ConfigError, match="journal"):
        opening(path)
    assert victim.read_text() == "precious"
    assert (path.read_bytes(), journal.read_bytes()) == before


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
def test_a_journal_that_would_make_the_file_endless_is_refused(path: Path, opening: Callable[[Path], History]) -> None:
    changed(path, "PRAGMA journal_mode = DELETE")
    head = MAGIC + struct.pack(">5I", 0, 0, 0x7FFFFFFF, 512, PAGE)
    path.with_name(f"{path.name}-journal").write_bytes(head.ljust(512, b"\0"))
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="journal"):
        opening(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_command_deletes_a_file_that_the_journal_of_a_home_names(tmp_path: Path, victim: Path, command: tuple[str, ...]) -> None:
    home = hostile_home(tmp_path / "home", "text")
    path = home / "history.sqlite"
    changed(path, "PRAGMA journal_mode = DELETE")
    path.with_name(f"{path.name}-journal").write_bytes(naming_another(path, victim))
    assert main([str(home) if word == "HOME" else word for word in command]) != 0
    assert victim.read_text() == "precious"


def test_the_journal_of_a_peer_that_was_killed_is_played_back(path: Path, tmp_path: Path) -> None:
    changed(path, "PRAGMA journal_mode = DELETE", "INSERT INTO counts VALUES ('before', 1)")
    there = tmp_path / "killed"
    there.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in ("PRAGMA synchronous = OFF", "PRAGMA cache_size = 1", "BEGIN", "UPDATE counts SET count = 2"):
            connection.execute(statement)
        connection.executemany("INSERT INTO counts VALUES (?, 1)", [(f"{number:0500}",) for number in range(200)])
        for name in (path.name, f"{path.name}-journal"):
            shutil.copy(path.with_name(name), there)
    with closing(sqlite3.connect(f"file:{there / path.name}?immutable=1", uri=True)) as connection:
        assert connection.execute("PRAGMA page_count").fetchone()[0] > 20
    with History.open(there / path.name) as history:
        assert history.counts() == {"before": 1}
