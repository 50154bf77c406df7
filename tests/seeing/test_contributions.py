"""`learnae contributions`: what each other peer gave."""

from __future__ import annotations

from learnae.node.contributions import Contribution


def test_who_gave_most_comes_first_in_80_columns(lived, learnae):
    home = lived()
    rich = Contribution(merged=123_456, weight=98_765.4, refused=12_345, failed=9_999, rows=1_234_567, bytes=987_654_321_000)
    home.happened(round=42, given={home.alice: Contribution(merged=2, weight=1.5, refused=1, bytes=3000), home.bob: rich})
    shown = learnae("contributions", home.path)
    lines = shown.out.splitlines()
    assert shown.code == 0 and max(map(len, lines)) <= 80
    assert lines[0].split() == ["peer", "merged", "weight", "refused", "failed", "rows", "bytes", "loss", "first", "last"]
    assert [line.split()[0] for line in lines[1:]] == [home.bob[:8], home.alice[:8]]
    assert lines[2].split()[1:9] == ["2", "1.5", "1", "0", "0", "3.0", "kB", "-"]


def test_programs_get_all_numbers_and_no_loss_that_was_never_measured(lived, learnae):
    home = lived()
    home.happened(round=42, given={home.alice: Contribution(merged=2, evaluated=2, loss_change=-0.125), home.bob: Contribution(rows=5)})
    found = learnae("contributions", home.path, "--json").json
    alice, bob = found["peers"]
    assert (alice["peer"], alice["merged"], alice["evaluated"], alice["loss_change"]) == (home.alice, 2, 2, -0.125)
    assert (bob["peer"], bob["rows"], bob["loss_change"]) == (home.bob, 5, None)


def test_a_home_in_which_nobody_gave_anything_says_so(lived, learnae):
    shown = learnae("contributions", lived().path)
    assert (shown.code, shown.out) == (0, "No other peer has given anything yet.\n")


def test_more_peers_than_are_shown_are_counted(lived, learnae):
    home = lived()
    home.happened(round=42, given={home.alice: Contribution(merged=2), home.bob: Contribution(merged=1)})
    shown = learnae("contributions", home.path, "--peers", "1")
    assert home.alice[:8] in shown.out and home.bob[:8] not in shown.out
    assert "1 more" in shown.out
