"""A history whose bytes were edited by hand: names that are SQLite's own, a log that says what it likes, rows that share their pages."""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from learnae.cli.main import main
from learnae.errors import ConfigError, UnavailableError
from learnae.identity.home_folder import HomeFolder
from learnae.node import history_database, history_limits
from learnae.node.history import History
from learnae.node.history_limits import MOST_BYTES, TimeLimit, back_up, upgrading
from learnae.node.history_schema import STEPS
from tests.support.hostile.given_homes import hostile_home

OPENINGS = {"looked at": History.read, "used": History.open}
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT"
LONG = "length(replace(hex(zeroblob(100000000 + {})), '00', '0'))"
PAGE = 4096

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    History.open(tmp_path / "history.sqlite").close()
    with closing(sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    return tmp_path / "history.sqlite"


def edited(path: Path, *statements: str, **names: str) -> None:
    """Things of ordinary names are made, and then called otherwise, as no statement of SQLite can."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("BEGIN")
        for statement in statements:
            connection.execute(statement)
        for old, new in names.items():
            replaced = ", ".join(f"{column} = replace({column}, ?1, ?2)" for column in ("name", "tbl_name", "sql"))
            connection.execute(f"UPDATE sqlite_master SET {replaced} WHERE instr(sql, ?1)", (old, new))
        connection.execute("COMMIT")


def behind_a_thousand(path: Path) -> None:
    tables = [f"CREATE TABLE zz{number} (a)" for number in range(1000)]
    trigger = f"CREATE TRIGGER evil AFTER INSERT ON denied BEGIN INSERT INTO totals {ENDLESS} i, i FROM n; END"
    edited(path, *tables, trigger, zz="sqlite_stat")


def index_of_sqlite(path: Path) -> None:
    values = ", ".join(LONG.format(f"length(peer) + {number}") for number in range(50))
    edited(path, f"CREATE INDEX zz ON denied ({values})", zz="sqlite_autoindex_denied_2")


def trigger_of_sqlite(path: Path) -> None:
    edited(path, "CREATE TRIGGER zz AFTER INSERT ON denied BEGIN DELETE FROM own_numbers; END", zz="sqlite_stat1")


def computed_while_it_is_loaded(path: Path) -> None:
    """SQLite reads this table before it answers anything."""
    rows = f"INSERT INTO zz (tbl, idx) SELECT 'verdicts', 'verdicts_by_peer' FROM ({ENDLESS} i FROM n LIMIT 20000)"
    edited(path, "CREATE TABLE zz (tbl, idx, stat TEXT AS ('1') VIRTUAL)", rows, zz="sqlite_stat1")
    edited(path, **{"('1')": f"({LONG.format('length(tbl)')} || ' 1')"})


def statistics(path: Path) -> None:
    edited(path, "INSERT INTO counts VALUES ('a', 1)", "ANALYZE")


def more_than_ever_ends(path: Path) -> None:
    views = f"SELECT 'view', 'v' || i, 'v' || i, 0, 'CREATE VIEW v' || i || ' AS SELECT 1' FROM ({ENDLESS} i FROM n LIMIT 200000)"
    edited(path, f"INSERT INTO sqlite_master {views}")


def blank_that_is_none(path: Path) -> None:
    edited(path, **{"peer TEXT PRIMARY KEY, at": "peer\u00a0TEXT PRIMARY KEY, at"})


def one_root_of_two(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        root = "(SELECT rootpage FROM sqlite_master WHERE name = 'own_numbers')"
        connection.execute(f"UPDATE sqlite_master SET rootpage = {root} WHERE name = 'denied'")


EDITS: dict[str, Callable[[Path], None]] = {
    edit.__name__: edit
    for edit in (
        behind_a_thousand,
        index_of_sqlite,
        trigger_of_sqlite,
        computed_while_it_is_loaded,
        statistics,
        more_than_ever_ends,
        blank_that_is_none,
        one_root_of_two,
    )
}


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_no_name_lets_anything_through_that_is_not_of_a_history(
    path: Path, edit: Callable[[Path], None], opening: Callable[[Path], History]
) -> None:
    edit(path)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="history"):
        opening(path)
    assert path.read_bytes() == before


def summed(data: bytes, first: int = 0, second: int = 0) -> tuple[int, int]:
    """As SQLite sums what stands in a log."""
    for one, other in struct.iter_unpack(">II", data):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second


def add_log(path: Path, pages: int) -> None:
    """One transaction, which says that the database has so many pages."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    page = bytearray(path.read_bytes()[:PAGE])
    page[28:32] = struct.pack(">I", pages)
    head = struct.pack(">6I", 0x377F0683, 3007000, PAGE, 0, 1, 2)
    sums = summed(head)
    frame = struct.pack(">2I", 1, pages)
    of_frame = summed(bytes(page), *summed(frame, *sums))
    log = path.with_name(f"{path.name}-wal")
    log.write_bytes(head + struct.pack(">2I", *sums) + frame + struct.pack(">4I", 1, 2, *of_frame) + bytes(page))
    log.chmod(0o600)


def of_version(path: Path, version: int) -> Path:
    path.unlink()
    edited(path, *(statement for step in STEPS[:version] for statement in step), f"PRAGMA user_version = {version}")
    path.chmod(0o600)
    return path


LOOKS = {**OPENINGS, "another's": History.read}
TOO_MANY = {"all that there can be": 0xFFFFFFFE, "four gigabytes": MOST_BYTES // PAGE, "a hundred megabytes": (100 << 20) // PAGE}


@pytest.mark.parametrize("pages", TOO_MANY.values(), ids=TOO_MANY)
@pytest.mark.parametrize("version", [3, len(STEPS)])
@pytest.mark.parametrize("look", LOOKS)
def test_a_log_that_makes_the_file_far_longer_is_refused_and_nothing_is_written(
    path: Path, look: str, version: int, pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HomeFolder, "is_own", look != "another's")
    add_log(of_version(path, version), pages)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(ConfigError, match=r"history\.sqlite-wal"):
        LOOKS[look](path)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
def test_a_log_that_makes_the_file_a_little_longer_is_played_back(path: Path, opening: Callable[[Path], History]) -> None:
    """Its pages are whole or none: what it says is so."""
    add_log(path, path.stat().st_size // PAGE + 8)
    with opening(path) as history:
        assert history.last_round() == 0


def test_frames_of_an_earlier_use_of_a_log_say_nothing(path: Path) -> None:
    add_log(path, 0xFFFFFFFE)
    log = path.with_name(f"{path.name}-wal")
    data = bytearray(log.read_bytes())
    data[16:24] = struct.pack(">2I", 7, 8)  # another salt in its head
    data[24:32] = struct.pack(">2I", *summed(bytes(data[:24])))
    log.write_bytes(data)
    with History.open(path) as history:
        assert history.last_round() == 0


def test_a_copy_ends_after_so_many_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(tmp_path / "long", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE long (a)")
        connection.execute(f"INSERT INTO long VALUES (zeroblob({64 << 20}))")
        monkeypatch.setattr(history_limits, "MOST_BYTES", 32 << 20)
        with closing(sqlite3.connect(tmp_path / "copy", isolation_level=None)) as copy, pytest.raises(ConfigError, match="too large"):
            back_up(connection, copy, tmp_path / "long")
        assert sum(os.stat(file).st_size for file in tmp_path.glob("copy*")) < 16 << 20
        assert connection.execute("SELECT count(*) FROM long").fetchone() == (1,)  # no transaction was left open
        assert not connection.in_transaction


def test_a_copy_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_limits, "COPY_SECONDS", -1.0)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection, closing(sqlite3.connect(":memory:")) as copy:
        connection.execute("CREATE TABLE one (a)")
        with pytest.raises(ConfigError, match="try again"):
            back_up(connection, copy, tmp_path)


def test_an_upgrade_makes_the_file_no_longer_than_it_needs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_limits, "_GROWTH", 1 << 20)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        most = connection.execute("PRAGMA max_page_count").fetchone()
        with pytest.raises(sqlite3.OperationalError, match="full"), upgrading(connection):
            connection.execute(f"INSERT INTO counts {ENDLESS} printf('%.5000c %d', 'x', i), 1 FROM n")
        assert path.stat().st_size < 2 << 20
        assert connection.execute("PRAGMA max_page_count").fetchone() == most


def test_what_is_written_for_too_long_is_given_up_and_is_not_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_database, "LOOK_SECONDS", 0.2)
    with History.open(path) as history:
        with pytest.raises(UnavailableError), history.database.writing() as db:
            db.execute(f"INSERT INTO counts {ENDLESS} 'a', max(i) FROM n")
        assert history.counts() == {}


def test_rows_that_are_more_together_than_a_peer_writes_are_not_taken_in(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as they are: rows that share their pages make a file of some megabytes have gigabytes of text."""
    read: list[int] = []
    monkeypatch.setattr(history_limits, "MOST_READ", 1 << 20)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"INSERT INTO counts {ENDLESS} printf('%.100000c %d', 'x', i), 1 FROM n LIMIT 100")
        with closing(connection.execute("SELECT reason FROM counts")) as rows, pytest.raises(sqlite3.DatabaseError):
            history_limits.taken(read.append(1) or row for row in rows)  # type: ignore[func-returns-value]
    assert len(read) <= 11
    for opening in OPENINGS.values():
        with opening(path) as history, pytest.raises(UnavailableError, match="damaged"):
            history.counts()


def test_one_row_may_be_longer_than_all_others_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of a strategy may be as large as a model."""
    monkeypatch.setattr(history_limits, "MOST_READ", 1000)
    with History.open(path) as history:
        history.save_states("run", 1, [("merge", bytes(5000))])
        assert history.state("merge") == ("run", 1, bytes(5000))


def test_a_limit_of_time_outlives_the_check_of_the_tables(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        limit = TimeLimit(connection, -1.0)
        with limit, pytest.raises(sqlite3.OperationalError):
            connection.execute(f"{ENDLESS} max(i) FROM n").fetchone()


@pytest.mark.parametrize("command", ["status", "deny", "clear"])
def test_no_command_fills_the_disk_by_a_log(tmp_path: Path, command: str) -> None:
    home = hostile_home(tmp_path / "home", "text")
    with closing(sqlite3.connect(home / "history.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    add_log(home / "history.sqlite", 0xFFFFFFFE)
    words = {"status": ["status", str(home)], "deny": ["deny", str(home), "5" * 64], "clear": ["storage", "clear", str(home), "--yes"]}
    size = (home / "history.sqlite").stat().st_size
    assert main(words[command]) != 0
    assert (home / "history.sqlite").stat().st_size == size
