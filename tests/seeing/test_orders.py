"""What a person orders is in the home, where the node looks."""

from __future__ import annotations

import pytest

STRANGER = "5" * 64


def test_a_peer_is_denied_by_the_beginning_of_its_key_and_shown_whole(lived, learnae):
    home = lived()
    shown = learnae("deny", home.path, "a11c")
    assert (shown.code, shown.out.splitlines()[0]) == (0, f"denied: {home.alice}")
    with home.open() as history:
        assert history.orders.denied() == {home.alice}
    assert learnae("allow", home.path, home.alice).code == 0
    with home.open() as history:
        assert history.orders.denied() == frozenset()


def test_a_peer_that_was_never_heard_is_denied_by_its_whole_key(lived, learnae):
    home = lived()
    assert learnae("deny", home.path, STRANGER[:40]).code == 2
    assert learnae("deny", home.path, STRANGER).code == 0
    with home.open() as history:
        assert history.orders.denied() == {STRANGER}


def test_a_peer_cannot_deny_itself(lived, learnae):
    home = lived()
    shown = learnae("deny", home.path, home.own)
    assert shown.code == 2 and "is this peer itself" in shown.err


@pytest.mark.parametrize("words", [("deny",), ("allow",)])
def test_it_must_be_said_who(lived, learnae, tmp_path, words):
    lived()
    shown = learnae(*words, "home")
    assert shown.code == 2 and "PEER: is missing" in shown.err


def test_what_the_file_denies_stays_denied_and_is_said_to(lived, learnae):
    home = lived()
    home.configured(peer={"deny": [home.alice]})
    assert "still not heard: it is denied by this peer's file" in learnae("allow", home.path, "a11c").out


def test_an_order_to_rejoin_lies_in_the_home_and_says_what_will_happen(lived, learnae):
    home = lived()
    home.heard(home.sighting(lineage=home.other_lineage))
    shown = learnae("rejoin", home.path, home.other_lineage.hex())
    assert shown.code == 0 and "at the first round after its next start" in shown.out and "Nobody there" not in shown.out
    with home.open() as history:
        order = history.orders.take_rejoin()
        assert order is not None and order.lineage == home.other_lineage


def test_an_order_into_a_lineage_that_nobody_trains_is_given_with_a_warning(lived, learnae):
    home = lived()
    assert "Nobody there was heard lately" in learnae("rejoin", home.path, "ab" * 8).out
    assert "Nobody there was heard lately" in learnae("rejoin", home.path).out
    with home.open() as history:
        order = history.orders.take_rejoin()
        assert order is not None and order.lineage is None


@pytest.mark.parametrize("word", ["abc", "x" * 16, b"lineage1".hex()])
def test_what_is_no_other_lineage_is_refused_and_nothing_ordered(lived, learnae, word):
    home = lived()
    assert learnae("rejoin", home.path, word).code == 2
    with home.open() as history:
        assert history.orders.take_rejoin() is None
