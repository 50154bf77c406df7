"""A text of somebody else that is as long as a terminal is wide, and then goes on like a line of ours."""

from __future__ import annotations

import ctypes
import fcntl
import os
import pty
import sqlite3
import struct
import subprocess
import sys
import termios
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from learnae import texts
from learnae.outlets import _broken
from learnae.screen import cell
from tests.support.hostile.given_homes import hostile_home

LIBC = ctypes.CDLL(None)
WIDTH = 80
PADDINGS = {
    "blanks": " ",
    "hard blanks": "\u00a0",
    "letters": "x",
    "wide letters": "漢",
    "words": "ab ",
    "vowel signs": "\u0903",
    "letters with vowel signs": "क\u093e",
    "finals": "\u11a8",
    "stems": "\U0001d159",
}


def on_a_terminal(words: list[str]) -> list[str]:
    """The lines of a screen of 80 columns, as a terminal breaks them."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, WIDTH, 0, 0))
    with subprocess.Popen([sys.executable, "-m", "learnae", *words], stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        said = b""
        try:
            while data := os.read(ours, 65_536):
                said += data
        except OSError:  # what Linux says at the end
            pass
        child.wait(60)
    os.close(ours)
    return [row for line in said.decode().split("\r\n") for row in rows_of(line)]


def columns(text: str) -> int:
    """As the C library of Linux and the terminals that ask it count."""
    return sum(max(0, LIBC.wcwidth(ctypes.c_wchar(character))) for character in text)


def rows_of(line: str) -> list[str]:
    rows = [""]
    for character in line:
        if columns(rows[-1]) + columns(character) > WIDTH:
            rows.append("")
        rows[-1] += character
    return rows


def test_no_terminal_gives_a_character_more_columns_than_we_do() -> None:
    shown = [chr(code) for code in range(32, 0x110000) if chr(code).isprintable()]
    assert len(shown) > 100_000
    assert not [one for one in shown if texts.columns(one) < max(columns(one), cell_len(one))]


def test_names_in_scripts_with_vowel_signs_stay_as_they_are() -> None:
    for name in ("श्रीमती", "हिन्दी", "தமிழ்", "မြန်မာ", "한국어"):
        assert cell(name).plain == name


@given(text=st.text(st.sampled_from("a\u0903\u093eक\u302e\u11a8\U0001f469\u200d\U0001f3fd "), max_size=60))
def test_a_cell_is_about_as_wide_as_rich_takes_it_to_be(text: str) -> None:
    shown = cell(text).plain
    assert columns(shown) <= cell_len(shown) + 12


def padded(padding: str) -> str:
    """Whatever stands before it, one of these begins at the left of a line that a terminal breaks."""
    return "".join(padding * 200 + "FAKED" * 40)


@pytest.mark.parametrize("padding", PADDINGS.values(), ids=PADDINGS)
def test_no_reason_goes_on_like_a_row_of_ours(padding: str, tmp_path: Path) -> None:
    home = hostile_home(tmp_path / "home", "text")
    with closing(sqlite3.connect(home / "history.sqlite", isolation_level=None)) as db:
        db.execute("UPDATE verdicts SET reason = ?", (padded(padding),))
    rows = on_a_terminal(["why", str(home)])
    assert any("FAKED" in row or padding * 2 in row for row in rows)
    assert not [row for row in rows if row.startswith(("FAKED", "AKED", "KED", "ED", "D"))]


@pytest.mark.parametrize("padding", PADDINGS.values(), ids=PADDINGS)
def test_no_key_of_a_file_goes_on_like_a_row_of_ours(padding: str, tmp_path: Path) -> None:
    file = tmp_path / "learnae.toml"
    file.write_text(f'[peer]\n"{padded(padding)}" = 3\n')
    rows = on_a_terminal(["check", "--no-code", str(file)])
    assert any("FAKED" in row for row in rows)
    assert not [row for row in rows if row.startswith(("FAKED", "AKED", "KED", "ED", "D"))]


@given(text=st.text(st.sampled_from("ab c漢\u0301\u00a0")), width=st.integers(20, 100), before=st.integers(0, 60))
def test_a_line_that_is_broken_keeps_its_characters_fits_and_begins_once(text: str, width: int, before: int) -> None:
    line = " " * before + text
    rows = _broken(line, width)
    assert rows.count("\\\n") == rows.count("\n''")  # within a word
    first, *others = rows.split("\n")
    assert all(cell_len(one) <= width for one in (first, *others))
    assert all(one.startswith((" " * min(before + 4, width // 2), "''")) for one in others)
    assert "".join([first, *others]).replace("\\''", "").replace(" ", "") == line.replace(" ", "")
    assert _broken(line, None) == line
