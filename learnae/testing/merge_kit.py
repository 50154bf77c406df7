"""What every merge must do, as tests to inherit.

class TestWinsorizedMean(MergeConformance):
    @pytest.fixture
    def merge(self, learnae_context):
        return WinsorizedMean(WinsorOptions(trim=0.2), learnae_context)
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from learnae.records import LocalModel, Merged, Received
from learnae.strategies import Merge
from learnae.testing.kit import Kit, inherited, needs
from learnae.testing.models import INTEGERS, SHAPES, LazyModel, constant_model, local_model, random_model, read_only, received

if TYPE_CHECKING:
    from learnae.records import Array


values = st.floats(-1000, 1000, width=32)
weights = st.floats(0, 1)
three = st.lists(values, min_size=3, max_size=3)


@st.composite
def updates(draw: st.DrawFn) -> Received:
    """An update of a model with one tensor of three values, with any claims."""
    tensor = np.array(draw(st.lists(values, min_size=3, max_size=3)), np.float32)
    ages = st.integers(0, 10**15)
    return received({"w": tensor}, age=draw(ages), samples=draw(ages), staleness=draw(st.floats(0, 100)), weight=draw(weights))


class MergeConformance(Kit):
    """Subclass it, and give the fixture `merge`. Say by these attributes what the merge does not promise."""

    includes_own: ClassVar[bool] = True
    """One other model never replaces the own one."""

    bounds_claims: ClassVar[bool] = True
    """No received update weighs more than the own model, whatever it claims."""

    deterministic: ClassVar[bool] = True
    """The same arguments give the same bits, whatever was merged between."""

    symmetric: ClassVar[bool] = True
    """The order of the updates does not matter."""

    stays_in_hull: ClassVar[bool] = True
    """Every coordinate lies between the smallest and the largest of the models (an outer momentum would overshoot)."""

    lazy: ClassVar[bool] = True
    """Needs one tensor of each update at a time."""

    tolerance: ClassVar[float] = 1e-5
    """For rounding, relative to the largest value."""

    @pytest.fixture
    def merge(self) -> Merge:
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `merge` that returns the merge under test")

    def test_every_tensor_comes_once_in_its_shape_and_dtype(self, merge: Merge) -> None:
        local = local_model(random_model(0))
        merged = list(merge.merge(local, [received(random_model(1)), received(random_model(2))], {}).tensors)
        assert sorted(name for name, _ in merged) == sorted(local.current)
        for name, tensor in merged:
            own = local.current[name]
            assert tensor is None or (np.shape(tensor), np.asarray(tensor).dtype) == (own.shape, own.dtype), name

    def test_without_updates_the_own_model_stays(self, merge: Merge) -> None:
        local = local_model(random_model(0))
        _assert_equal(_collected(merge.merge(local, [], {}), local), local.current)

    def test_models_that_agree_give_that_model(self, merge: Merge) -> None:
        local = local_model(random_model(0))
        self._assert_close(_merge(merge, local, [received(random_model(0))] * 3), local.current)

    def test_other_models_reach_every_coordinate(self, merge: Merge) -> None:
        result = _merge(merge, local_model(constant_model(2)), [received(constant_model(4))] * 2)
        for name in SHAPES:
            assert (result[name] > 2).all(), f"{name} has coordinates that stayed at the own 2, though both updates say 4"

    @needs("includes_own")
    def test_the_own_model_counts_in_every_coordinate(self, merge: Merge) -> None:
        result = _merge(merge, local_model(constant_model(2)), [received(constant_model(4))])
        for name in SHAPES:
            assert (result[name] < 4).all(), f"{name} has coordinates where one update of 4 replaced the own 2"

    @needs("bounds_claims")
    def test_no_claim_outweighs_the_own_model(self, merge: Merge) -> None:
        liar = received(constant_model(1), age=10**15, samples=10**15)
        result = _merge(merge, local_model(constant_model(0)), [liar])
        for name in SHAPES:
            assert (result[name] <= 0.5 + self.tolerance).all(), f"{name}: an update with an age of 10^15 counts more than the own model"

    def test_an_update_of_weight_zero_takes_no_part(self, merge: Merge) -> None:
        local, honest = local_model(constant_model(2)), received(constant_model(4))
        refused = received(constant_model(900), peer="c", weight=0.0)
        self._assert_close(_merge(merge, local, [honest, refused]), _merge(merge, local, [honest]))

    def test_integer_tensors_take_the_maximum(self, merge: Merge) -> None:
        own, others = constant_model(3), [constant_model(5), constant_model(4)]
        for model, positions in zip([own, *others], ([3, 9], [5, 1], [4, 2]), strict=True):
            model["positions"] = np.array(positions)
        result = _merge(merge, local_model(own), [received(other) for other in others])
        assert result["positions"].tolist() == [5, 9]
        assert result["batches"].tolist() == 5

    def test_what_did_not_come_counts_as_the_own_value(self, merge: Merge) -> None:
        own, other, came = constant_model(2), constant_model(4), {name: np.zeros(shape, bool) for name, shape in SHAPES.items()}
        for name, mask in came.items():
            mask.reshape(-1)[::2] = True
            other[name] = np.where(mask, other[name], np.float32(np.nan))
        result = _merge(merge, local_model(own), [received(other, masks=came)])
        for name, mask in came.items():
            np.testing.assert_allclose(result[name][~mask], 2.0, rtol=self.tolerance, err_msg=name)
            assert np.isfinite(result[name]).all(), f"{name} is not finite: values that did not come were used"

    def test_the_arguments_are_left_alone(self, merge: Merge) -> None:
        local, items = local_model(random_model(0), random_model(9)), [received(random_model(seed)) for seed in (1, 2)]
        state = _frozen_state(_run(merge, local, items).state)
        _run(merge, local, items, state)
        for given_model, seed in ((local.current, 0), (local.start, 9), (items[0].tensors, 1), (items[1].tensors, 2)):
            _assert_equal(given_model, random_model(seed))

    def test_the_results_share_no_memory(self, merge: Merge) -> None:
        local, item = local_model(random_model(0)), received(random_model(1))
        arguments = [*local.current.values(), *local.start.values(), *item.tensors.values()]
        results = [np.asarray(tensor) for _, tensor in merge.merge(local, [item], {}).tensors if tensor is not None]
        for index, result in enumerate(results):
            for other in (*arguments, *results[:index]):
                assert not np.shares_memory(result, other), "a result shares memory with an argument or with another result"

    @needs("deterministic")
    def test_the_same_arguments_give_the_same_bits(self, merge: Merge) -> None:
        local, items = local_model(random_model(0)), [received(random_model(seed)) for seed in (1, 2)]
        first = _merge(merge, local, items)
        _merge(merge, local_model(random_model(5)), [received(random_model(6))])
        _assert_equal(_merge(merge, local, items), first)

    @needs("symmetric")
    def test_the_order_of_updates_does_not_matter(self, merge: Merge) -> None:
        local = local_model(random_model(0))
        items = [received(random_model(seed), age=40 * seed, samples=400 * seed, staleness=seed) for seed in (1, 2, 3)]
        self._assert_close(_merge(merge, local, [items[2], items[0], items[1]]), _merge(merge, local, items))

    @needs("stays_in_hull")
    @inherited
    @example(own=[0, 0, 0], items=[received({"w": np.ones(3, np.float32)})] * 3, age=100)
    @given(own=st.lists(values, min_size=3, max_size=3), items=st.lists(updates(), max_size=4), age=st.integers(0, 10**15))
    def test_the_result_lies_between_the_models(self, merge: Merge, own: list[float], items: list[Received], age: int) -> None:
        local = local_model({"w": np.array(own, np.float32)}, age=age, samples=age)
        models = np.stack([local.current["w"], *(item.tensors["w"] for item in items)])
        slack = self.tolerance * max(1.0, float(np.abs(models).max()))
        result = _merge(merge, local, items)["w"]
        within = (models.min(axis=0) - slack <= result) & (result <= models.max(axis=0) + slack)
        assert within.all(), f"{result} is not between the smallest and the largest of {models}"

    @inherited
    @example(own=[1, 1, 1], start=[0, 0, 0], items=[received({"w": np.full(3, 0.25, np.float32)})] * 2)
    @given(own=three, start=three, items=st.lists(updates(), max_size=3))
    def test_what_it_makes_of_a_buffer_lies_between_the_models(
        self, merge: Merge, own: list[float], start: list[float], items: list[Received]
    ) -> None:
        """A step beyond them is for parameters: a running variance would fall below zero. The core holds buffers within, too."""
        current, before = ({"w": np.array(values, np.float32)} for values in (own, start))
        local = local_model(current, before, buffers=["w"])
        models = np.stack([local.current["w"], *(item.tensors["w"] for item in items)])
        slack = self.tolerance * max(1.0, float(np.abs(models).max()))
        result = _merge(merge, local, items)["w"]
        within = (models.min(axis=0) - slack <= result) & (result <= models.max(axis=0) + slack)
        assert within.all(), f"{result} is not between the smallest and the largest of {models}, though `local.buffers` names the tensor"

    @needs("lazy")
    def test_tensors_are_read_and_made_one_at_a_time(self, merge: Merge) -> None:
        lazy = [LazyModel(random_model(seed)) for seed in (1, 2)]
        made: list[weakref.ref[Any]] = []
        for _, tensor in merge.merge(local_model(random_model(0)), [received(tensors) for tensors in lazy], {}).tensors:
            made += [] if tensor is None else [weakref.ref(tensor)]
            del tensor
            assert sum(result() is not None for result in made) <= 1, "results that were handed over are kept"
        for tensors in lazy:
            assert tensors.most_alive <= 2, f"{tensors.most_alive} tensors of one update were in memory at once"

    def test_the_state_can_be_stored_and_given_back(self, merge: Merge) -> None:
        local, items = local_model(random_model(0)), [received(random_model(1))]
        merged = _run(merge, local, items)
        for name, value in (merged.state or {}).items():
            assert isinstance(name, str)
            assert isinstance(value, np.ndarray | np.generic | int | float | str), f"state {name!r} is a {type(value).__name__}"
            assert np.asarray(value).dtype != object, f"state {name!r} holds Python objects"
        _run(merge, local, items, _frozen_state(merged.state))

    def _assert_close(self, result: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
        for name in (*SHAPES, *INTEGERS):
            np.testing.assert_allclose(result[name], expected[name], rtol=self.tolerance, atol=self.tolerance, err_msg=name)


def _run(merge: Merge, local: LocalModel, items: Sequence[Received], state: Mapping[str, Any] | None = None) -> Merged:
    """Merge to the end: only then is the new state complete."""
    merged = merge.merge(local, items, MappingProxyType(dict(state or {})))
    for _ in merged.tensors:
        pass
    return merged


def _merge(merge: Merge, local: LocalModel, items: Sequence[Received]) -> dict[str, Array]:
    return _collected(merge.merge(local, items, MappingProxyType({})), local)


def _collected(merged: Merged, local: LocalModel) -> dict[str, Array]:
    return {name: local.current[name] if tensor is None else np.array(tensor) for name, tensor in merged.tensors}


def _assert_equal(result: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    assert sorted(result) == sorted(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(result[name], tensor, err_msg=name)


def _frozen_state(state: Mapping[str, Any] | None) -> dict[str, Any]:
    """The state as the core gives it back: arrays that nobody can write to."""
    state = dict(state or {})
    return state | read_only({name: value for name, value in state.items() if isinstance(value, np.ndarray)})
