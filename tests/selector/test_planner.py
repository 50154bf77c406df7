"""The planner spends a round on updates and slices, on what is worth most for its bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import pytest

from learnae import NoOptions
from learnae.plugins.selector import Planner
from learnae.records import AnnouncementKind, Candidate, TensorSpec, View
from learnae.sketches import Sketcher
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


def sketch_at(place: float) -> bytes:
    """Of a model of two weights: (1, place)."""
    specs = (TensorSpec(name="two", dtype="float32", shape=(2,)),)
    return Sketcher.for_specs(specs).sketch({"two": np.array([1.0, place], np.float32)})


def chooses_the_update(select: Callable[[View], Sequence[Candidate]], update: Candidate, *others: Candidate) -> bool:
    """Of a single place in a round in which a slice could have it. The slice is worth 0.8 of a typical update."""
    even = slice_candidate("even", {"7": 4}, bytes=update.bytes)
    seen_now = seen(update, even, *others, have={"7": 4}, count=1, round=1001)
    return list(select(attrs.evolve(seen_now, age=100, sketch=sketch_at(0.0)))) == [update]


def test_a_typical_update_is_worth_more_than_eight_tenths_of_a_row_that_counts_fully(select: Callable[[View], Sequence[Candidate]]) -> None:
    assert chooses_the_update(select, candidate("a", age=100))


@pytest.mark.parametrize(
    "facts", [{"age": 20}, {"age": 100, "staleness": 0.5}], ids=["one that is far behind", "one that was announced long ago"]
)
def test_less_is_worth(select: Callable[[View], Sequence[Candidate]], facts: Any) -> None:
    assert not chooses_the_update(select, candidate("a", **facts))


def test_an_update_that_is_like_the_own_model_is_worth_less_than_one_that_differs(select: Callable[[View], Sequence[Candidate]]) -> None:
    """The others have failed just now, so it is not their turn: they only show what is typical."""
    typical = [candidate(peer, age=100, sketch=sketch_at(0.5), failures=6, last_tried=1001) for peer in ("b", "c", "d")]
    assert not chooses_the_update(select, candidate("a", age=100, sketch=sketch_at(0.01)), *typical)
    assert chooses_the_update(select, candidate("a", age=100, sketch=sketch_at(0.5)), *typical)
    assert chooses_the_update(select, candidate("a", age=100, sketch=b"no sketch"), *typical)


def test_what_a_peer_says_of_itself_makes_an_update_worth_four_times_as_much_at_most(
    select: Callable[[View], Sequence[Candidate]],
) -> None:
    liar = candidate("a", age=1 << 60, sketch=sketch_at(-1e30))
    others = [candidate(peer, age=100, sketch=sketch_at(0.1), failures=6, last_tried=1001) for peer in ("b", "c", "d")]
    slice_ = slice_candidate("lacking", {"7": 5}, bytes=liar.bytes)
    view_now = seen(liar, slice_, *others, have={}, count=1, round=1001)
    assert list(select(attrs.evolve(view_now, age=100, sketch=sketch_at(0.0)))) == [slice_]
