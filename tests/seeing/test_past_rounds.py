"""`learnae history`: round after round."""

from __future__ import annotations


def test_the_newest_rounds_are_shown_the_last_one_at_the_end(lived, learnae):
    home = lived()
    for number in (42, 43, 44):
        home.happened(round=number, outcome="alone")
    found = learnae("history", home.path, "--rounds", "3", "--json").json
    assert [one["round"] for one in found] == [42, 43, 44]
    assert found[-1]["lineage"] == home.lineage.hex() and found[-1]["splits"] == []
    lines = learnae("history", home.path, "--rounds", "3").out.splitlines()
    assert [line.split()[0] for line in lines] == ["round", "42", "43", "44"]
    assert lines[-1].split()[2:] == ["0.50", "2", "0", "0", "0", "0", "1.5k", "3.0k", "820", "alone"]


def test_a_home_without_rounds_says_so(lived, learnae):
    home = lived()
    (home.path / "history.sqlite").unlink()
    home.open().close()
    assert learnae("history", home.path).out == "No round was finished yet.\n"
