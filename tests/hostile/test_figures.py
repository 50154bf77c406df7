"""A home whose numbers no peer can have written: a command shows them, or says that the history is damaged, and does not break."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from rich.cells import cell_len

from learnae.cli.main import main
from learnae.node.history import History
from tests.support.hostile.given_homes import ALICE, hostile_home

FIGURES = {
    "huge": (2**63 - 1, 1e300),
    "endless": (2**63 - 1, float("inf")),
    "below zero": (-(2**63), -1e300),
    "endless below zero": (-1, float("-inf")),
    "later than calendars": (10**15, 1e15),
    "next to nothing": (0, 5e-324),
}
COMMANDS = [
    *(["status", "HOME"], ["status", "HOME", "--json"], ["history", "HOME"], ["history", "HOME", "--json"], ["why", "HOME"]),
    *(["why", "HOME", ALICE[:6]], ["export", "HOME", "-o", "m"], ["storage", "clear", "HOME", "--yes"]),
    *(["deny", "HOME", ALICE], ["allow", "HOME", ALICE], ["rejoin", "HOME"]),
    *(["contributions", "HOME"], ["contributions", "HOME", "--json"], ["contributions", "HOME", "--others"]),
    *(["contributions", "HOME", "--others", "--json"], ["contributions", "HOME", "--ask"]),
]


def with_figures(home: Path, whole: int, real: float) -> Path:
    """Two rounds, so that sums overflow."""
    with closing(sqlite3.connect(hostile_home(home, "text") / "history.sqlite", isolation_level=None)) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for _, name, kind, *_ in db.execute(f"PRAGMA table_info({table})").fetchall():
                if kind in ("INTEGER", "REAL") and name not in ("one", "kind", "merged", "live", "ever_accepted", "young"):
                    db.execute(f"UPDATE OR IGNORE {table} SET {name} = ?", (whole if kind == "INTEGER" else real,))
        columns = ", ".join(name for _, name, *_ in db.execute("PRAGMA table_info(rounds)").fetchall()[1:])
        db.execute(f"INSERT INTO rounds (round, {columns}) SELECT 7, {columns} FROM rounds WHERE round != 7")
    return home


@pytest.mark.parametrize("figures", FIGURES.values(), ids=FIGURES)
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_figure_of_a_history_breaks_a_command(
    words: list[str], figures: tuple[int, float], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    home = with_figures(tmp_path / "home", *figures)
    code = main([str(home) if word == "HOME" else word for word in words])
    shown = capsys.readouterr()
    assert code in (0, 2, 4) and "Traceback" not in shown.err, shown.err
    assert code != 4 or "damaged" in shown.err
    if words[0] in ("status", "history") and "--json" not in words:
        assert "inf" not in shown.out.split()


def test_nothing_in_one_row_of_a_history_hides_the_figures_of_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    home = with_figures(tmp_path / "home", *FIGURES["huge"])
    with closing(sqlite3.connect(home / "history.sqlite", isolation_level=None)) as db:
        columns = ", ".join(name for _, name, *_ in db.execute("PRAGMA table_info(rounds)").fetchall()[3:])
        db.execute(
            f"INSERT INTO rounds (round, at, seconds, {columns}) SELECT 123456, ?, 0.25, {columns} FROM rounds WHERE round = 7",
            (time.time(),),
        )
        db.execute("UPDATE rounds SET lost = 0")
        db.execute("UPDATE rounds SET heard = 321, lost = 0, age = 12345, outcome = 'merged' WHERE round = 123456")
        db.execute("UPDATE rounds SET lost = 0, outcome = ? WHERE round = 7", ("long " * 1000,))
    assert main(["history", str(home)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"round", "when", "took", "heard", "outcome"} <= set(lines[0].split())
    assert {"123456", "0.25", "321", "12,345", "merged"} <= set(lines[-1].split() + lines[-2].split() + lines[-3].split())
    assert all(cell_len(line) <= 80 for line in lines)


@pytest.mark.parametrize("command", ["allow", "deny"])
def test_an_order_to_a_home_whose_settings_are_bad_is_refused_before_it_is_given(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = hostile_home(tmp_path / "home", "text")
    peer = "5" * 64
    if command == "allow":
        assert main(["deny", str(home), peer]) == 0
    (home / "config.json").write_text("{")
    capsys.readouterr()
    assert main([command, str(home), peer]) == 2
    assert capsys.readouterr().out == ""
    with History.read(home / "history.sqlite") as history:
        assert (peer in history.orders.denied()) == (command == "allow")
