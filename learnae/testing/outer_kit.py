"""What every outer optimiser must do, as tests to inherit.

class TestNesterov(OuterConformance):
    @pytest.fixture
    def outer(self, learnae_context):
        return Nesterov(NesterovOptions(), learnae_context)
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from learnae.records import LocalModel, Merged, State
from learnae.strategies import Outer
from learnae.testing.kit import Kit, needs
from learnae.testing.models import SHAPES, constant_model, local_model, parameters, random_model, read_only

if TYPE_CHECKING:
    from learnae.records import Array

NOTHING: State = MappingProxyType({})


class OuterConformance(Kit):
    """Subclass it, and give the fixture `outer`. Say by these attributes what the outer optimiser does not promise."""

    rests: ClassVar[bool] = True
    """Where nothing has moved, and nothing is remembered, nothing moves (weight decay would)."""

    follows: ClassVar[bool] = True
    """The first step takes every coordinate from `start` towards the merged model, whatever its length."""

    deterministic: ClassVar[bool] = True
    """The same arguments, state included, give the same bits."""

    lazy: ClassVar[bool] = True
    """Takes one merged tensor at a time."""

    @pytest.fixture
    def outer(self) -> Outer:
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `outer` that returns the outer optimiser under test")

    def test_every_tensor_comes_once_in_its_shape_and_dtype(self, outer: Outer) -> None:
        local = local_model(_model(1), _model(0))
        stepped = list(outer.step(local, _given(_model(2)), {}, NOTHING).tensors)
        assert sorted(name for name, _ in stepped) == sorted(local.current)
        for name, tensor in stepped:
            own = local.current[name]
            assert tensor is None or (np.shape(tensor), np.asarray(tensor).dtype) == (own.shape, own.dtype), name

    @needs("rests")
    def test_where_nothing_moved_nothing_moves(self, outer: Outer) -> None:
        result, _ = _stepped(outer, local_model(_model(0)), _model(0))
        for name, tensor in _model(0).items():
            np.testing.assert_array_equal(result[name], tensor, err_msg=name)

    @needs("follows")
    def test_the_first_step_goes_towards_the_merged_model(self, outer: Outer) -> None:
        start, merged = _model(0), _model(2)
        result, _ = _stepped(outer, local_model(_model(1), start), merged)
        for name in SHAPES:
            assert ((result[name] - start[name]) * (merged[name] - start[name]) > 0).all(), f"{name} has coordinates that went elsewhere"

    def test_a_merge_that_changed_nothing_gives_the_own_model(self, outer: Outer) -> None:
        local = local_model(_model(1), _model(0))
        unchanged, _ = _stepped(outer, local, dict.fromkeys(local.current))
        given, _ = _stepped(outer, local, _model(1))
        _assert_equal(unchanged, given)

    def test_what_was_not_merged_stays_as_it_is(self, outer: Outer) -> None:
        """A step on coordinates that did not come diverges: they would be moved again and again by what is remembered of them."""
        start, current, merged = (parameters(constant_model(value)) for value in (0, 2, 2))
        came = {name: np.zeros(shape, bool) for name, shape in SHAPES.items()}
        for name, mask in came.items():
            mask.reshape(-1)[::2] = True
            merged[name][mask] = 4
        state: Mapping[str, Any] = {}
        for _ in range(3):
            result, state = _stepped(outer, local_model(current, start), merged, masks=came, state=state)
            for name, mask in came.items():
                np.testing.assert_array_equal(result[name][~mask], current[name][~mask], err_msg=name)

    def test_the_arguments_are_left_alone(self, outer: Outer) -> None:
        local, merged = local_model(_model(1), _model(0)), read_only(_model(2))
        _, state = _stepped(outer, local, merged)
        before = {name: np.array(value) for name, value in state.items()}
        _stepped(outer, local, merged, state=state)
        for given_model, seed in ((local.start, 0), (local.current, 1), (merged, 2)):
            _assert_equal(given_model, _model(seed))
        for name, value in before.items():
            np.testing.assert_array_equal(state[name], value, err_msg=f"state {name}")

    def test_the_results_share_no_memory(self, outer: Outer) -> None:
        local = local_model(_model(1), _model(0))
        tensors = [tensor for _, tensor in outer.step(local, _given(_model(2)), {}, NOTHING).tensors if tensor is not None]
        for index, tensor in enumerate(tensors):
            for other in (*local.current.values(), *local.start.values(), *tensors[:index]):
                assert not np.shares_memory(tensor, other), "a result shares memory with the own model or with another result"

    @needs("deterministic")
    def test_the_same_arguments_give_the_same_bits(self, outer: Outer) -> None:
        local = local_model(_model(1), _model(0))
        first, _ = _stepped(outer, local, _model(2))
        _stepped(outer, local_model(_model(5), _model(6)), _model(7))
        again, _ = _stepped(outer, local, _model(2))
        _assert_equal(again, first)

    @needs("lazy")
    def test_tensors_are_taken_and_made_one_at_a_time(self, outer: Outer) -> None:
        given, made = list[weakref.ref[Any]](), list[weakref.ref[Any]]()
        local = local_model(_model(1), _model(0))
        for _, tensor in outer.step(local, _watched(_model(2), given), {}, NOTHING).tensors:
            made += [] if tensor is None else [weakref.ref(tensor)]
            del tensor
            assert sum(result() is not None for result in made) <= 1, "results that were handed over are kept"
            assert sum(merged() is not None for merged in given) <= 2, "more than one merged tensor was taken at once"

    def test_the_state_can_be_stored_and_given_back(self, outer: Outer) -> None:
        local, state = local_model(_model(1), _model(0)), dict[str, Any]()
        for _ in range(3):
            _, state = _stepped(outer, local, _model(2), state=state)
        for name, value in state.items():
            assert isinstance(name, str)
            assert isinstance(value, np.ndarray | np.generic | int | float | str), f"state {name!r} is a {type(value).__name__}"
            assert np.asarray(value).dtype != object, f"state {name!r} holds Python objects"


def _model(seed: int) -> dict[str, Array]:
    """Parameters only, since the core gives an outer optimiser nothing else."""
    return parameters(random_model(seed))


def _given(merged: Mapping[str, Array | None]) -> Iterator[tuple[str, Array | None]]:
    """As the merge hands it over: once, and one tensor after the other."""
    for name, tensor in merged.items():
        yield name, None if tensor is None else np.array(tensor)


def _watched(merged: Mapping[str, Array], given: list[weakref.ref[Any]]) -> Iterator[tuple[str, Array]]:
    for name, tensor in merged.items():
        copy = np.array(tensor)
        given.append(weakref.ref(copy))
        yield name, copy
        del copy


def _stepped(
    outer: Outer,
    local: LocalModel,
    merged: Mapping[str, Array | None],
    *,
    masks: Mapping[str, Any] | None = None,
    state: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Array], dict[str, Any]]:
    """The model after the step, and the new state, read-only as the core gives it back.

    The state is complete only after the last tensor.
    """
    before = dict(state or {})
    step: Merged = outer.step(local, _given(merged), masks or {}, MappingProxyType(before))
    tensors = {name: local.current[name] if tensor is None else np.array(tensor) for name, tensor in step.tensors}
    after = before if step.state is None else dict(step.state)
    return tensors, after | read_only({name: value for name, value in after.items() if isinstance(value, np.ndarray)})


def _assert_equal(result: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    assert sorted(result) == sorted(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(result[name], tensor, err_msg=name)
