"""Which keepers are asked for what is left of a peer that has gone, where many call themselves one."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from learnae.node.inbox import Inbox, InboxEntry
from learnae.node.keepers import IN_VAIN, MOST_ASKED, Keepers
from learnae.node.peers import Peers
from learnae.records import Announcement, PeerId, Present

GONE, OTHER = PeerId("gone"), PeerId("other")


def present(name: str, role: str = "keeper", *, backlog: bool = False) -> InboxEntry:
    body = Present({"ipfs": (f"/at/{name}",)}, role)
    return InboxEntry(Announcement(swarm=b"s" * 16, peer=PeerId(name), number=1, body=body), b"d", b"m", 0.0, 1, backlog)


def keepers(*names: str, named: Collection[str] = ()) -> Keepers:
    inbox = Inbox(10_000, Peers(9).trusts)
    for name in names:
        inbox.put(present(name))
    return Keepers(inbox, frozenset(map(PeerId, named)))


def asked_in_vain(among: Keepers, times: int) -> list[tuple[PeerId, ...]]:
    asked = []
    for _ in range(times):
        asked.append(among.ask(GONE))
        among.in_vain(GONE)
    return asked


def test_two_are_asked_and_after_a_search_in_vain_the_next_two() -> None:
    among = keepers(*"abcde")
    assert among.ask(GONE) == among.ask(GONE) == ("a", "b")
    assert asked_in_vain(among, 4) == [("a", "b"), ("c", "d"), ("e", "a"), ("b", "c")]


def test_a_crowd_that_came_first_keeps_nobody_from_being_asked() -> None:
    among = keepers(*(f"crowd-{number}" for number in range(100)), "true")
    asked = asked_in_vain(among, 51)
    assert any("true" in some for some in asked)


def test_who_gave_something_has_a_place_beside_those_that_take_turns() -> None:
    among = keepers(*(f"crowd-{number}" for number in range(100)), "true")
    while "true" not in among.ask(GONE):
        among.in_vain(GONE)
    among.came(GONE)
    for _ in range(20):
        assert "true" in among.ask(OTHER)
        among.came(OTHER)


def test_who_stood_beside_the_one_that_gave_loses_its_place_when_asked_in_vain() -> None:
    among = keepers("liar", "true", "third")
    assert among.ask(GONE) == ("liar", "true")
    among.came(GONE)
    for _ in range(2 * IN_VAIN):
        if "true" in among.ask(GONE):
            among.came(GONE)
        else:
            among.in_vain(GONE)
    assert "true" in among.ask(GONE)


def test_named_ones_come_first_and_leave_the_other_place_to_the_rest() -> None:
    among = keepers(*"abc", "mine", "ours", named=("mine", "ours"))
    assert asked_in_vain(among, 3) == [("mine", "a"), ("ours", "b"), ("mine", "c")]


def test_where_there_are_only_named_ones_both_are_asked() -> None:
    assert keepers("mine", "ours", named=("mine", "ours")).ask(GONE) == ("mine", "ours")


@pytest.mark.parametrize("role", ["trainer", "provider", ""])
def test_only_who_says_that_it_is_a_keeper_is_asked(role: str) -> None:
    among = keepers()
    among.inbox.put(present("a", role))
    assert among.ask(GONE) == ()


def test_those_that_are_there_are_asked_before_those_that_were() -> None:
    among = keepers("there")
    among.inbox.put(present("was", backlog=True))
    among.inbox.put(present("came"))
    assert among.ask(GONE) == ("there", "came")
    assert len(among.ask(GONE)) <= MOST_ASKED
