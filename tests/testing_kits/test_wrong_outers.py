"""The kit of outer optimisers catches those that are wrong on purpose, each by the test that is named."""

from __future__ import annotations

import numpy as np
import pytest

from learnae import Merged, NoOptions, Outer
from learnae.testing.kit import standard_tests
from learnae.testing.outer_kit import OuterConformance


class Correct(Outer):
    """Heavy-ball momentum: what the wrong ones are made of."""

    momentum = np.float32(0.5)

    def __init__(self):
        super().__init__(NoOptions(), None)

    def step(self, local, merged, masks, state):
        velocities = {}
        return Merged(self.stepped(local, merged, masks, state, velocities), velocities)

    def stepped(self, local, merged, masks, state, velocities):
        for name, tensor in merged:
            yield name, self.one(name, local, tensor, masks, state, velocities)

    def one(self, name, local, tensor, masks, state, velocities):
        target = local.current[name] if tensor is None else tensor
        velocity = self.momentum * state.get(name, np.float32(0)) + target - local.start[name]
        velocities[name] = np.asarray(np.where(masks.get(name, True), velocity, np.float32(0)), np.float32)
        return np.asarray(np.where(masks.get(name, True), local.start[name] + velocity, target), np.float32)


class Changing(Correct):
    """Changes what the correct one made of each tensor."""

    def stepped(self, local, merged, masks, state, velocities):
        for name, tensor in super().stepped(local, merged, masks, state, velocities):
            yield name, self.change(name, local.current[name] if tensor is None else tensor, local)


class ForgetsATensor(Correct):
    def stepped(self, *arguments):
        return ((name, tensor) for name, tensor in super().stepped(*arguments) if name != "temperature")


class Upcasts(Changing):
    def change(self, name, tensor, local):
        return tensor.astype(np.float64)


class Decays(Changing):
    def change(self, name, tensor, local):
        return np.asarray(tensor * np.float32(0.99)) if tensor.dtype == np.float32 else tensor


class Climbs(Changing):
    def change(self, name, tensor, local):
        return np.asarray(2 * local.start[name] - tensor) if tensor.dtype == np.float32 else tensor


class StaysAtTheStart(Correct):
    """Takes an unchanged model for one that has not moved."""

    def one(self, name, local, tensor, masks, state, velocities):
        return super().one(name, local, local.start[name] if tensor is None else tensor, masks, state, velocities)


class IgnoresMasks(Correct):
    def one(self, name, local, tensor, masks, state, velocities):
        return super().one(name, local, tensor, {}, state, velocities)


class RemembersInPlace(Correct):
    def one(self, name, local, tensor, masks, state, velocities):
        if name in state:
            state[name][...] = 0
        return super().one(name, local, tensor, masks, state, velocities)


class HandsOutTheOwnModel(Changing):
    def change(self, name, tensor, local):
        return local.current[name]


class KeepsItsMemoryInItself(Correct):
    def __init__(self):
        super().__init__()
        self.kept = {}

    def step(self, local, merged, masks, state):
        return Merged(self.stepped(local, merged, masks, dict(self.kept), self.kept))


class TakesAllAtOnce(Correct):
    def stepped(self, local, merged, masks, state, velocities):
        return super().stepped(local, iter(list(merged)), masks, state, velocities)


class KeepsObjects(Correct):
    def step(self, local, merged, masks, state):
        return Merged(super().step(local, merged, masks, {}).tensors, {"last": [local]})


CAUGHT = {
    ForgetsATensor: "test_every_tensor_comes_once_in_its_shape_and_dtype",
    Upcasts: "test_every_tensor_comes_once_in_its_shape_and_dtype",
    Decays: "test_where_nothing_moved_nothing_moves",
    Climbs: "test_the_first_step_goes_towards_the_merged_model",
    StaysAtTheStart: "test_a_merge_that_changed_nothing_gives_the_own_model",
    IgnoresMasks: "test_what_was_not_merged_stays_as_it_is",
    RemembersInPlace: "test_the_arguments_are_left_alone",
    HandsOutTheOwnModel: "test_the_results_share_no_memory",
    KeepsItsMemoryInItself: "test_the_same_arguments_give_the_same_bits",
    TakesAllAtOnce: "test_tensors_are_taken_and_made_one_at_a_time",
    KeepsObjects: "test_the_state_can_be_stored_and_given_back",
}


@pytest.mark.parametrize("kind", CAUGHT)
def test_a_wrong_outer_optimiser_is_caught_by_the_test_that_is_made_for_it(kind):
    test = standard_tests(OuterConformance)[CAUGHT[kind]]
    with pytest.raises((AssertionError, ValueError)):
        test(OuterConformance(), kind())


def test_each_test_of_the_kit_catches_something():
    assert set(CAUGHT.values()) == set(standard_tests(OuterConformance))


class TestCorrect(OuterConformance):
    """What the wrong ones are made of is right."""

    @pytest.fixture
    def outer(self):
        return Correct()
