"""Counters of others: how far towards them the own ones go, whatever they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from learnae.elementwise import PIECE
from learnae.node.claims import (
    ENOUGH,
    FASTEST,
    HIGHEST,
    LASTING_ROUNDS,
    LISTENING_MERGES,
    OLDEST,
    WINDOW,
    BelievedClaims,
    Claims,
    between,
    bounded,
    held,
    lower_median,
)
from learnae.records import LocalModel, PeerId, Received
from tests.support.records import an_update

MOST = np.iinfo(np.int64).max
LINEAGE = b"lineage1"


def received(name: str, count: int, age: int = 7) -> Received:
    tensors = {"n": np.array(count), "table": np.array([count]), "w": np.array([0.5], np.float32)}
    return Received(
        peer=PeerId(name),
        update=an_update(lineage=LINEAGE, age=age, codec="fp32"),
        tensors=tensors,
    )


def local(count: int, age: int) -> LocalModel:
    current = {"n": np.array(count)}
    return LocalModel(start=current, current=current, age=age)


def test_counters_are_bounded_and_all_else_passes_as_it_is():
    item = received("a", MOST)
    [seen] = bounded([item], {"n": np.array(12)})
    assert isinstance(seen.tensors["n"], np.ndarray)
    assert (seen.tensors["n"].shape, int(seen.tensors["n"])) == ((), 12)
    assert seen.tensors["table"] is item.tensors["table"] and seen.tensors["w"] is item.tensors["w"]
    assert (list(seen.tensors), len(seen.tensors)) == (["n", "table", "w"], 3)
    assert int(bounded([received("a", -MOST)], {"n": np.array(12)})[0].tensors["n"]) == -MOST


class Merging:
    """One peer's claims, and what it believes."""

    def __init__(self) -> None:
        self.claims, self.round = Claims(["n"], LINEAGE), 0

    def believes(self, count: int, age: int, *items: Received, here: int = 19, provisional: bool = False) -> tuple[int, int]:
        self.round += 1
        mine = local(count, age)
        found = self.claims.believe(mine, items, LINEAGE, self.round, here=here, provisional=provisional)
        self.claims.merged(mine, found, found.counters)
        return int(found.counters["n"]), found.age


def test_nothing_is_raised_until_enough_peers_were_heard_and_then_to_the_middle_one():
    merging = Merging()
    assert merging.believes(10, 10, received("a", 50, 60)) == (10, 10)
    for index in range(1, ENOUGH - 1):
        assert merging.believes(10 + index, 10 + index, received(f"p{index}", 50, 60)) == (10 + index, 10 + index)
    assert merging.believes(20, 20, received("liar", MOST, MOST)) == (50, 60)


def test_who_is_one_of_few_believes_fewer_when_it_has_listened_for_some_rounds():
    merging, both = Merging(), (received("a", 50, 60), received("b", MOST, MOST))
    for index in range(LISTENING_MERGES):
        assert merging.believes(10 + index, 10 + index, *both, here=2) == (10 + index, 10 + index)
    assert merging.believes(20, 20, *both, here=2) == (50, 60)
    assert merging.believes(60, 70, received("b", MOST, MOST), here=1) == (60, 70)


def test_a_liar_alone_raises_nothing():
    merging = Merging()
    for step in range(100):
        assert merging.believes(step, step, received("liar", MOST, MOST), here=1) == (step, step)


def test_claims_that_are_old_or_crowded_out_say_nothing_any_more():
    merging = Merging()
    for index in range(WINDOW + 3):
        merging.believes(100, 100, received(f"p{index}", 50))
    assert len(merging.claims._claims) == WINDOW
    merging.round += LASTING_ROUNDS + 1
    assert merging.believes(101, 101, received("a", 500, 500)) == (101, 101)
    assert len(merging.claims._claims) == 1


def test_another_lineage_begins_anew():
    merging = Merging()
    for index in range(ENOUGH):
        merging.believes(100 + index, 100 + index, received(f"p{index}", 150))
    assert merging.claims.believe(local(1, 1), [received("a", 150)], b"another!", 9, here=9, provisional=True) == BelievedClaims(
        1, {"n": np.array(1)}
    )


def test_whatever_all_claim_nothing_rises_faster_than_the_own_steps_allow():
    merging, count, age = Merging(), 0, 0
    for step in range(1, 101):
        lies = [received(f"p{index}", MOST, MOST) for index in range(9)]
        count, age = merging.believes(count + 1, age + 1, *lies)
        assert max(count, age) <= (FASTEST + 1) * step
    assert min(count, age) >= FASTEST * 90


def test_no_age_outgrows_what_can_be_stored():
    merging = Merging()
    lies = [received(f"p{index}", 0, 2**63 - 1) for index in range(9)]
    assert merging.believes(0, OLDEST - 5, *lies)[1] == OLDEST - 5
    assert merging.believes(0, OLDEST - 4, *lies)[1] == OLDEST
    assert merging.believes(0, OLDEST + 7, *lies)[1] == OLDEST + 7


def test_a_provisional_peer_whose_age_was_a_lie_takes_that_of_the_others_and_keeps_its_own_steps():
    merging = Merging()
    for index in range(ENOUGH - 1):
        assert merging.believes(5, 2**48 + 10 * index, received(f"p{index}", 5, 200), provisional=True)[1] == 2**48 + 10 * index
    assert merging.believes(5, 2**48 + 40, received("last", 5, 200), provisional=True)[1] == 240
    assert merging.believes(5, 250, received("last", 5, 10), provisional=True)[1] == 250


@pytest.mark.parametrize("provisional", [False, True])
def test_whoever_is_ahead_of_the_others_by_its_own_steps_stays_there(provisional):
    merging = Merging()
    for step in range(1, 20):
        assert merging.believes(100 * step, 100 * step, received(f"p{step}", step, 60 + step), provisional=provisional) == (
            100 * step,
            100 * step,
        )


def test_the_lower_median_of_a_long_tensor_is_that_of_each_element():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-MOST, MOST, (2, PIECE + 3)) for _ in range(4)]
    np.testing.assert_array_equal(lower_median(arrays), np.sort(np.stack(arrays), axis=0)[1])


integers = hnp.arrays(np.int64, 3, elements=st.integers(-MOST, MOST))


@given(own=integers, others=integers, before=integers, factor=st.integers(1, 64))
def test_between_is_between_and_exact(own, others, before, factor):
    taken = between(own, others, factor, before)
    for mine, other, then, found in zip(*(array.tolist() for array in (own, others, before, taken)), strict=True):
        assert found == max(mine, min(other, mine + factor * min(max(0, mine - then), 1 << 40)))


@given(theirs=integers, own=integers, own_age=st.integers(0, 1 << 48), age=st.integers(0, 1 << 48))
def test_what_is_taken_over_is_never_below_the_own_nor_beyond_what_can_be_counted_on(theirs, own, own_age, age):
    taken = held(theirs, own, own_age, age)
    assert (taken >= own).all()
    assert (taken <= np.maximum(own, np.minimum(theirs, HIGHEST))).all()
