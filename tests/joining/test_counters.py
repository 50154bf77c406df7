"""Integers of others: no single update raises one beyond what an honest peer has reached."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from learnae.elementwise import PIECE
from learnae.node.counters import bounded, lower_median
from learnae.records import Cid, LocalModel, PeerId, Received, Update

MOST = np.iinfo(np.int64).max


def model(*integers: int) -> dict[str, np.ndarray]:
    return {"n": np.array(integers, np.int64), "count": np.array(integers[0], np.int64), "w": np.array([0.5], np.float32)}


def received(tensors) -> Received:
    return Received(PeerId("p"), Update(Cid("root"), 1, b"l" * 8, b"s" * 8, 7, False, 0, 0, 0.0, "fp32"), tensors)


def taken(own: dict, *theirs: dict) -> list[list[int]]:
    """Of each update what a merge sees of its integers."""
    items = bounded(LocalModel(own, own), [received(tensors) for tensors in theirs])
    return [item.tensors["n"].tolist() for item in items]


def test_a_liar_beside_an_honest_peer_raises_nothing_beyond_what_the_honest_one_has():
    assert taken(model(10, 4), model(12, 4), model(MOST, MOST)) == [[12, 4], [12, 4]]


def test_a_liar_alone_raises_nothing():
    assert taken(model(10, 4), model(MOST, MOST)) == [[10, 4]]


def test_among_honest_ones_the_middle_is_the_most_that_is_taken_and_never_less_than_the_own():
    assert taken(model(3, 9), model(5, 1), model(4, 2)) == [[4, 1], [4, 2]]
    assert taken(model(3), model(5), model(4), model(6)) == [[4], [4], [4]]  # of four the lower of the two in the middle


def test_floating_tensors_and_what_is_lower_pass_as_they_are():
    own, other = model(10), model(-MOST)
    other["w"] = np.array([1e30], np.float32)
    [item] = bounded(LocalModel(own, own), [received(other)])
    assert item.tensors["w"] is other["w"]
    assert item.tensors["n"].tolist() == [-MOST]
    assert list(item.tensors) == ["n", "count", "w"]
    assert len(item.tensors) == 3


def test_a_number_without_dimensions_stays_an_array():
    [item, _] = bounded(LocalModel(model(1), model(1)), [received(model(5)), received(model(3))])
    assert isinstance(item.tensors["count"], np.ndarray)
    assert (item.tensors["count"].shape, int(item.tensors["count"])) == ((), 3)


def test_the_lower_median_of_a_long_tensor_is_that_of_each_element():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-MOST, MOST, (2, PIECE + 3)) for _ in range(4)]
    np.testing.assert_array_equal(lower_median(arrays), np.sort(np.stack(arrays), axis=0)[1])


integers = hnp.arrays(np.int64, 3, elements=st.integers(-MOST, MOST))


@given(own=integers, honest=st.lists(integers, min_size=1, max_size=4), lie=integers, place=st.integers(0, 4))
def test_whatever_one_says_nobody_goes_beyond_the_highest_honest_value(own, honest, lie, place):
    theirs = [*honest[:place], lie, *honest[place:]]
    seen = taken(*({"n": values} for values in (own, *theirs)))
    assert (np.max([own, *seen], axis=0) <= np.max([own, *honest], axis=0)).all()


@given(own=integers, theirs=st.lists(integers, min_size=2, max_size=5))
def test_whoever_is_behind_most_others_comes_up_with_them(own, theirs):
    seen = taken(*({"n": values} for values in (own, *theirs)))
    assert (np.max([own, *seen], axis=0) >= np.sort([own, *theirs], axis=0)[len(theirs) // 2]).all()
