"""`learnae status --watch`: all homes on one screen."""

from __future__ import annotations

import pytest

from learnae.cli.dashboard.overview import overview_of
from learnae.cli.dashboard.terminal import bars, frame
from learnae.node.contributions import Contribution
from learnae.screen import Screen
from tests.support.hostile.texts import WORST, is_harmless


def test_it_shows_who_merged_whom_what_was_measured_and_what_was_refused(lived, learnae, tmp_path):
    one, other = lived("homes/one"), lived("homes/other")
    one.happened(
        one.verdict(other.own, round=42, merged=False, stage="clip", reason="too-far: norm 3 over 2", number=12),
        round=42,
        given={other.own: Contribution(merged=9)},
        metrics={"accuracy": 0.75},
    )
    answer = learnae("status", tmp_path / "homes", "--watch")
    assert answer.code == 0
    rows = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert rows[0].startswith("2 homes, 0 running; swarm digits")
    assert any(row.startswith("one ended 42") and "0.75" in row for row in rows)
    assert "merged of other" in rows and "one 9" in rows
    assert any("one: update 12 of other, clip: too-far: norm 3 over 2" in row for row in rows)


def test_no_row_is_wider_than_the_screen(lived, learnae, tmp_path):
    for number in range(4):
        home = lived(f"homes/peer-with-a-long-name-{number}")
        home.happened(round=123_456, published_bytes=123_456_789, fetched_bytes=123_456_789, age=12_345_678, metrics={"accuracy": 0.98765})
    shown = learnae("status", tmp_path / "homes", "--watch").out
    assert max(map(len, shown.splitlines())) <= 80


def test_a_home_that_is_broken_is_told_of_beside_the_others(lived, learnae, tmp_path):
    lived("homes/one")
    (tmp_path / "homes" / "two").mkdir()
    (tmp_path / "homes" / "two" / "history.sqlite").write_text("no database")
    shown = learnae("status", tmp_path / "homes", "--watch").out
    assert "ended" in shown and "broken" in shown


def test_texts_of_others_do_nothing_to_the_screen(lived, capsys):
    home, worst = lived(), WORST.encode(errors="ignore").decode()
    home.happened(home.verdict(round=42, merged=False, stage=worst, reason=worst), round=42, metrics={worst[:60]: 1.0})
    Screen(width=80).print(frame(overview_of([home.path])))
    assert is_harmless(capsys.readouterr().out)


@pytest.mark.parametrize("options", [["--json"], ["--peers", "3"]])
def test_options_of_another_form_are_refused(lived, learnae, options):
    answer = learnae("status", lived().path, "--watch", *options)
    assert answer.code == 2 and "--watch" in answer.err


@pytest.mark.parametrize(
    ("values", "drawn"), [([], ""), ([5.0], "▁"), ([0.0, 1.0], "▁█"), ([1.0, 1.0], "▁▁"), ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█")]
)
def test_a_curve_in_signs_goes_from_the_lowest_to_the_highest(values, drawn):
    assert bars([(0.0, 0, value) for value in values]) == drawn
