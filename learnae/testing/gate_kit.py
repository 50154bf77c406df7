"""What every gate must do, as tests to inherit.

class TestDistance(GateConformance):
    @pytest.fixture
    def gate(self, learnae_context):
        return Distance(DistanceOptions(), learnae_context)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.records import Judged, LocalModel, Received
from learnae.strategies import Gate
from learnae.testing.kit import Kit, inherited, needs
from learnae.testing.models import LazyModel, local_model, random_model, read_only, received

numbers = st.floats(width=32)  # also NaN and infinities


class GateConformance(Kit):
    """Subclass it, and give the fixture `gate`. Say by these attributes what the gate does not promise."""

    deterministic: ClassVar[bool] = True
    """The same arguments, state included, give the same verdicts."""

    accepts_agreement: ClassVar[bool] = True
    """A model equal to the own one passes as it is."""

    lazy: ClassVar[bool] = True
    """Needs one tensor of each update at a time."""

    @pytest.fixture
    def gate(self) -> Gate:
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `gate` that returns the gate under test")

    def test_without_updates_there_is_no_verdict(self, gate: Gate) -> None:
        assert list(_judge(gate, local_model(random_model(0)), []).verdicts) == []

    @inherited
    @given(models=st.lists(st.lists(numbers, min_size=3, max_size=3), max_size=4), weight=st.floats(0, 1))
    def test_each_update_gets_one_verdict_within_bounds(self, gate: Gate, models: list[list[float]], weight: float) -> None:
        items = [received({"w": np.array(model, np.float32)}, weight=weight) for model in models]
        verdicts = _judge(gate, local_model({"w": np.ones(3, np.float32)}), items).verdicts
        assert len(verdicts) == len(items)
        for verdict in verdicts:
            assert 0 <= verdict.weight <= 1
            assert 0 <= verdict.scale <= 1
            assert isinstance(verdict.reason, str)
            assert isinstance(verdict.blames, bool)

    @needs("accepts_agreement")
    def test_a_model_like_the_own_one_passes_as_it_is(self, gate: Gate) -> None:
        [verdict] = _judge(gate, local_model(random_model(0), random_model(1)), [received(random_model(0))]).verdicts
        assert (verdict.weight, verdict.scale) == (1.0, 1.0)

    @needs("deterministic")
    def test_the_same_arguments_give_the_same_verdicts(self, gate: Gate) -> None:
        local, items = local_model(random_model(0)), [received(random_model(seed)) for seed in (1, 2)]
        first = _judge(gate, local, items).verdicts
        _judge(gate, local_model(random_model(5)), [received(random_model(6))])
        assert list(_judge(gate, local, items).verdicts) == list(first)

    def test_the_arguments_are_left_alone(self, gate: Gate) -> None:
        local, items = local_model(random_model(0), random_model(9)), [received(random_model(1))]
        state = _judge(gate, local, items).state
        before = _frozen(state)
        _judge(gate, local, items, state)
        for given_model, seed in ((local.current, 0), (local.start, 9), (items[0].tensors, 1)):
            for name, tensor in random_model(seed).items():
                np.testing.assert_array_equal(given_model[name], tensor, err_msg=name)
        for name, value in before.items():
            np.testing.assert_array_equal((state or {})[name], value, err_msg=name)

    def test_the_state_can_be_stored_and_given_back(self, gate: Gate) -> None:
        local, items, state = local_model(random_model(0)), [received(random_model(1))], None
        for _ in range(30):
            state = _judge(gate, local, items, state).state or state
        for name, value in (state or {}).items():
            assert isinstance(name, str)
            assert isinstance(value, np.ndarray | np.generic | int | float | str), f"state {name!r} is a {type(value).__name__}"
            assert np.asarray(value).dtype != object, f"state {name!r} holds Python objects"

    @needs("lazy")
    def test_tensors_are_read_one_at_a_time(self, gate: Gate) -> None:
        lazy = [LazyModel(random_model(seed)) for seed in (1, 2)]
        _judge(gate, local_model(random_model(0)), [received(tensors) for tensors in lazy])
        for tensors in lazy:
            assert tensors.most_alive <= 2, f"{tensors.most_alive} tensors of one update were in memory at once"


def _judge(gate: Gate, local: LocalModel, items: Sequence[Received], state: Mapping[str, Any] | None = None) -> Judged:
    return gate.judge(local, items, MappingProxyType(_frozen(state)))


def _frozen(state: Mapping[str, Any] | None) -> dict[str, Any]:
    """The state as the core gives it back: arrays that nobody can write to."""
    state = dict(state or {})
    return state | read_only({name: value for name, value in state.items() if isinstance(value, np.ndarray)})
