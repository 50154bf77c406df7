"""A fixed selector fetches from the peers of its graph, and from nobody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from learnae.errors import ConfigError
from learnae.plugins.selector import Fixed, FixedOptions
from learnae.testing.context import make_context, peer_named
from learnae.testing.selector_kit import SelectorConformance, candidate, view

NAMES = "abcde"
Make = Callable[..., Fixed]


@pytest.fixture
def fixed(tmp_path: Path) -> Make:
    def make(own: str, names: str, **options: Any) -> Fixed:
        return Fixed(FixedOptions(peers=tuple(map(peer_named, names)), **options), make_context(tmp_path, peer=own))

    return make


class TestFixed(SelectorConformance):
    @pytest.fixture
    def selector(self, fixed: Make) -> Fixed:
        return fixed("z", NAMES)


def chosen(selector: Fixed, *, heard: str = NAMES, **facts: Any) -> str:
    names = {peer_named(name): name for name in heard}
    return "".join(sorted(names[one.peer] for one in selector.select(view(*map(candidate, heard), **facts))))


def test_without_peers_it_fetches_no_updates(fixed: Make) -> None:
    assert chosen(fixed("a", "")) == ""


def test_those_that_are_listed_are_fetched_and_no_others(fixed: Make) -> None:
    assert chosen(fixed("a", "bd"), count=9) == "bd"


def test_where_there_are_more_than_places_those_tried_longest_ago_come_first(fixed: Make) -> None:
    late, early, never = candidate("b", last_tried=9), candidate("c", last_tried=3), candidate("d")
    assert list(fixed("a", "bcd").select(view(late, early, never, round=10, count=2))) == [never, early]


@pytest.mark.parametrize(("own", "neighbours"), [("a", "be"), ("c", "bd"), ("e", "ad")])
def test_on_a_ring_both_neighbours_are_fetched(fixed: Make, own: str, neighbours: str) -> None:
    assert chosen(fixed(own, NAMES, shape="ring"), count=9) == neighbours


def test_a_ring_of_two_has_one_neighbour_and_a_ring_of_one_none(fixed: Make) -> None:
    assert chosen(fixed("a", "ab", shape="ring")) == "b"
    assert chosen(fixed("a", "a", shape="ring")) == ""


def test_an_exponential_graph_goes_1_2_and_4_places_on_in_turn(fixed: Make) -> None:
    selector = fixed("d", "abcde", shape="exponential")
    assert [chosen(selector, round=number) for number in range(6)] == ["e", "a", "c", "e", "a", "c"]


def test_a_neighbour_that_is_gone_is_not_replaced(fixed: Make) -> None:
    assert chosen(fixed("a", NAMES, shape="ring"), heard="bcd") == "b"


@pytest.mark.parametrize("shape", ["ring", "exponential"])
def test_a_graph_without_this_peer_is_refused(fixed: Make, shape: str) -> None:
    with pytest.raises(ConfigError, match=peer_named("z")):
        fixed("z", NAMES, shape=shape)


def test_a_peer_that_is_named_twice_is_refused(fixed: Make) -> None:
    with pytest.raises(ConfigError, match="twice"):
        fixed("a", "bb")


def test_it_sees_no_slices() -> None:
    assert not Fixed.slices, "they are fetched beside the rounds, so that it compares graphs alone"
