"""`learnae contributions`: what each other peer gave."""

from __future__ import annotations

import json

from learnae.config.saved_config import FILE
from learnae.identity.keys import Identity
from learnae.node.contributions import Contribution
from learnae.node.history_reader import KeptView
from learnae.node.views import ContributionView, GivenBy, encode_view


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


def a_view(identity, *rows):
    given = sorted((GivenBy(peer, 60.0, Contribution(**about)) for peer, about in rows), key=lambda row: row.peer)
    return KeptView(identity.peer, 0.0, encode_view(ContributionView(b"s" * 16, identity.peer, 5, tuple(given)), identity))


VIEWERS = [Identity.generate(bytes([number]) * 32) for number in (1, 2, 3)]


def test_an_order_is_given_once_and_shown_with_what_came_of_it(lived, learnae):
    home = lived()
    before = learnae("contributions", home.path, "--others").words
    assert "never asked for: `learnae contributions " in before and "--ask`" in before
    said = learnae("contributions", home.path, "--ask")
    assert said.code == 0 and "after its next start" in said.words
    with home.open() as history:
        order = history.orders.take_ask()
        assert "not carried out yet" in learnae("contributions", home.path, "--others").words
        history.orders.end_ask(order, "2 of 2 views came")
    assert "2 of 2 views came." in learnae("contributions", home.path, "--others").words
    assert learnae("contributions", home.path, "--ask", "--json").code == 2


def test_no_order_is_given_to_a_peer_that_fetches_no_views(lived, learnae):
    home = lived()
    for role in ("keeper", "provider"):
        (home.path / FILE).write_text(json.dumps({"config": {"peer": {"role": role}}, "folder": "/"}))
        said = learnae("contributions", home.path, "--ask")
        assert said.code != 0 and f"of a {role}" in said.err
    with home.open() as history:
        assert history.orders.take_ask() is None


def test_what_this_peer_says_stands_beside_what_others_say_and_who_differs_by_much_is_named(lived, learnae):
    home = lived()
    home.happened(round=42, given={home.alice: Contribution(merged=10, bytes=1000)})
    abouts = [{"merged": 12, "bytes": 900}, {"merged": 9, "bytes": 1100}, {"merged": 500, "bytes": 1000}]
    with home.open() as history:
        history.keep_views(
            a_view(viewer, (home.alice, about), *([(home.bob, {"merged": 1})] if about["merged"] == 12 else []))
            for viewer, about in zip(VIEWERS, abouts, strict=True)
        )
    found = learnae("contributions", home.path, "--others", "--json").json
    alice, bob = found["peers"]
    assert (alice["peer"], alice["own"]["merged"], alice["others"], alice["views"]) == (
        home.alice,
        10,
        {"merged": 12, "rows": 0, "bytes": 1000},
        3,
    )
    assert alice["differ"] == [VIEWERS[2].peer]
    assert (bob["peer"], bob["own"], bob["others"]["merged"], bob["differ"]) == (home.bob, None, 1, [])
    shown = learnae("contributions", home.path, "--others")
    assert max(len(line) for line in shown.out.splitlines() if "`" not in line) <= 80, "but for a command, which is to be copied"
    row = next(line for line in shown.out.splitlines() if line.startswith(home.alice[:8]))
    assert row.split() == [home.alice[:8], "3", "10", "12", "0", "0", "1.0", "kB", "1.0", "kB", VIEWERS[2].peer[:8]]


def test_a_view_that_somebody_has_written_into_the_home_counts_as_not_there(lived, learnae):
    home = lived()
    good = a_view(VIEWERS[0], (home.alice, {"merged": 1}))
    with home.open() as history:
        history.keep_views([good, KeptView(VIEWERS[1].peer, 0.0, good.data), KeptView(VIEWERS[2].peer, 0.0, b"\x00" * 100)])
    assert [view["peer"] for view in learnae("contributions", home.path, "--others", "--json").json["views"]] == [VIEWERS[0].peer]
