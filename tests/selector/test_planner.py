"""The planner spends a round on updates and slices, on what is worth most for its bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import pytest

from learnae import NoOptions
from learnae.plugins.selector import Planner
from learnae.records import AnnouncementKind, Candidate, View
from learnae.strategies import Context
from learnae.testing.selector_kit import SelectorConformance, candidate, slice_candidate, view


class TestPlanner(SelectorConformance):
    @pytest.fixture
    def selector(self, learnae_context: Context) -> Planner:
        return Planner(NoOptions(), learnae_context)


@pytest.fixture
def select(learnae_context: Context) -> Callable[[View], Sequence[Candidate]]:
    return Planner(NoOptions(), learnae_context).select


def seen(*candidates: Candidate, have: Mapping[str, int], **facts: Any) -> View:
    return attrs.evolve(view(*candidates, **facts), have=have)


def test_a_slice_of_a_label_that_is_lacking_comes_before_an_update(select: Callable[[View], Sequence[Candidate]]) -> None:
    lacking, update = slice_candidate("seven", {"7": 50}), candidate("a")
    assert list(select(seen(update, lacking, have={"1": 500}))) == [lacking, update]


def test_a_slice_of_which_there_is_plenty_comes_after_the_updates(select: Callable[[View], Sequence[Candidate]]) -> None:
    plenty, updates = slice_candidate("one", {"1": 50}), [candidate("a"), candidate("b")]
    assert {update.peer for update in select(seen(*updates, plenty, have={"1": 500}))} == {update.peer for update in updates}
    assert list(select(seen(updates[0], plenty, have={"1": 500}))) == [updates[0], plenty]


def test_no_number_of_slices_keeps_an_update_out(select: Callable[[View], Sequence[Candidate]]) -> None:
    many = [slice_candidate(f"s{number}", {f"{number}": 60_000}) for number in range(40)]
    for count in (2, 3, 5):
        chosen = select(seen(candidate("a"), candidate("b"), candidate("c"), *many, have={}, count=count))
        assert sum(one.kind is AnnouncementKind.UPDATE for one in chosen) >= min(3, count - count // 2)


def test_of_a_single_place_updates_get_every_second_round(select: Callable[[View], Sequence[Candidate]]) -> None:
    lacking, update = slice_candidate("seven", {"7": 50}), candidate("a")
    kinds = {number: select(seen(update, lacking, have={}, count=1, round=number))[0].kind for number in (1000, 1001)}
    assert set(kinds.values()) == {AnnouncementKind.UPDATE, AnnouncementKind.SLICE}


def test_each_slice_that_is_chosen_counts_for_the_next(select: Callable[[View], Sequence[Candidate]]) -> None:
    """Two of 7 and one of 8: the second of 7 adds little once the first is chosen."""
    sevens, eight = [slice_candidate("seven-a", {"7": 50}), slice_candidate("seven-b", {"7": 50})], slice_candidate("eight", {"8": 40})
    chosen = select(seen(*sevens, eight, have={}, count=2))
    assert eight in chosen


def test_the_same_rows_in_fewer_bytes_come_first(select: Callable[[View], Sequence[Candidate]]) -> None:
    large, small = slice_candidate("large", {"7": 50}, bytes=400), slice_candidate("small", {"7": 50}, bytes=100)
    assert list(select(seen(large, small, have={"1": 5}, count=1))) == [small]


def test_a_giver_whose_slices_failed_comes_later(select: Callable[[View], Sequence[Candidate]]) -> None:
    failing, sound = slice_candidate("x", {"7": 50}, failures=3), slice_candidate("y", {"7": 45})
    assert list(select(seen(failing, sound, have={"1": 5}, count=1))) == [sound]
