"""The merge kit catches merges that are wrong on purpose, each by the test that is named."""

from __future__ import annotations

import itertools

import attrs
import numpy as np
import pytest

from learnae import ElementwiseMerge, Merge, Merged, NoOptions
from learnae.plugins.merge import Average, AverageOptions
from learnae.testing.kit import standard_tests
from learnae.testing.merge_kit import MergeConformance


class Correct(Average):
    """What the wrong ones are made of."""

    def __init__(self):
        super().__init__(AverageOptions(), None)

    def averaged(self, local, received):
        """The mean as the average makes it; all of it before anything is handed over."""
        return {
            name: np.array(local.current[name] if tensor is None else tensor) for name, tensor in super().merge(local, received, {}).tensors
        }

    def changed(self, local, received, change):
        return Merged((name, change(name, tensor)) for name, tensor in self.averaged(local, received).items())


class HoardsResults(Correct):
    def merge(self, local, received, state):
        return Merged(self.averaged(local, received).items())


class DecodesAllAtOnce(Correct):
    def merge(self, local, received, state):
        return super().merge(local, [attrs.evolve(item, tensors=dict(item.tensors)) for item in received], state)


class ForgetsATensor(Correct):
    def merge(self, local, received, state):
        return Merged((name, tensor) for name, tensor in super().merge(local, received, state).tensors if name != "temperature")


class RepeatsATensor(Correct):
    def merge(self, local, received, state):
        tensors = list(super().merge(local, received, state).tensors)
        return Merged([*tensors, tensors[0]])


class Upcasts(Correct):
    def merge(self, local, received, state):
        return self.changed(local, received, lambda name, tensor: tensor.astype(np.float64))


class FlattensScalars(Correct):
    def merge(self, local, received, state):
        return self.changed(local, received, lambda name, tensor: np.atleast_1d(tensor))


class ShrinksAlone(Correct):
    """Weight decay where there is nobody to merge."""

    def merge(self, local, received, state):
        if received:
            return super().merge(local, received, state)
        return Merged((name, (tensor * 0.99).astype(tensor.dtype)) for name, tensor in local.current.items())


class SumsInsteadOfAveraging(ElementwiseMerge):
    def combine(self, stacked, weights):
        return stacked.sum(axis=0)


class MergesTheFirstPieceOnly(Correct):
    def merge(self, local, received, state):
        def restored(name, tensor):
            flat = tensor.reshape(-1)
            flat[self.CHUNK :] = local.current[name].reshape(-1)[self.CHUNK :]
            return tensor

        return self.changed(local, received, restored)


class LastWins(Merge):
    def merge(self, local, received, state):
        last = received[-1].tensors if received else local.current
        return Merged((name, np.array(last[name])) for name in local.current)


class BelievesAges(Correct):
    def weigh(self, local, received):
        return [item.update.age / local.age for item in received]


class MergesTheRefused(Correct):
    def merge(self, local, received, state):
        return super().merge(local, [attrs.evolve(item, weight=1.0) for item in received], state)


class KeepsTheOwnIntegers(Correct):
    def merge(self, local, received, state):
        return self.changed(local, received, lambda name, tensor: tensor if tensor.dtype == np.float32 else local.current[name].copy())


class IgnoresMasks(Correct):
    def merge(self, local, received, state):
        return super().merge(local, [attrs.evolve(item, masks={}) for item in received], state)


class WorksInPlace(Merge):
    def merge(self, local, received, state):
        for name, own in local.current.items():
            for item in received:
                own += (item.tensors[name] - own) // 2
        return Merged((name, None) for name in local.current)


class HandsOutItsArguments(Correct):
    def merge(self, local, received, state):
        return Merged((name, received[0].tensors[name] if received else own) for name, own in local.current.items())


class ReusesOneBuffer(Correct):
    def merge(self, local, received, state):
        buffer = np.empty(1 << 20, np.float32)

        def buffered(name, tensor):
            view = buffer[: tensor.size].reshape(tensor.shape)
            view[...] = tensor
            return view

        return self.changed(local, received, buffered)


class Noisy(Correct):
    def combine(self, stacked, weights):
        return super().combine(stacked, weights) + np.float32(np.random.default_rng().normal(0, 1e-3))


class Remembers(Correct):
    """Keeps in itself what belongs into the state."""

    last = 0.0

    def combine(self, stacked, weights):
        result, self.last = super().combine(stacked, weights) + np.float32(self.last), float(stacked.mean())
        return result


class FavoursTheFirst(Correct):
    def weigh(self, local, received):
        return [1 / (1 + index) for index in range(len(received))]


class Overshoots(Correct):
    def combine(self, stacked, weights):
        return stacked[0] + np.float32(2) * (super().combine(stacked, weights) - stacked[0])


class StepsOverBuffers(Correct):
    """On the way from the last merged model, as if all were parameters."""

    def merge(self, local, received, state):
        return self.changed(local, received, lambda name, tensor: np.asarray(tensor + (tensor - local.start[name]), tensor.dtype))


class KeepsObjects(Correct):
    def merge(self, local, received, state):
        return attrs.evolve(super().merge(local, received, state), state={"last": list(received)})


class WritesIntoItsState(Correct):
    def merge(self, local, received, state):
        count = state.get("count", np.zeros(1))
        count += 1
        return attrs.evolve(super().merge(local, received, state), state={"count": count})


CAUGHT = {
    ForgetsATensor: "test_every_tensor_comes_once_in_its_shape_and_dtype",
    RepeatsATensor: "test_every_tensor_comes_once_in_its_shape_and_dtype",
    Upcasts: "test_every_tensor_comes_once_in_its_shape_and_dtype",
    FlattensScalars: "test_every_tensor_comes_once_in_its_shape_and_dtype",
    ShrinksAlone: "test_without_updates_the_own_model_stays",
    SumsInsteadOfAveraging: "test_models_that_agree_give_that_model",
    MergesTheFirstPieceOnly: "test_other_models_reach_every_coordinate",
    LastWins: "test_the_own_model_counts_in_every_coordinate",
    BelievesAges: "test_no_claim_outweighs_the_own_model",
    MergesTheRefused: "test_an_update_of_weight_zero_takes_no_part",
    KeepsTheOwnIntegers: "test_integer_tensors_take_the_maximum",
    IgnoresMasks: "test_what_did_not_come_counts_as_the_own_value",
    WorksInPlace: "test_the_arguments_are_left_alone",
    HandsOutItsArguments: "test_the_results_share_no_memory",
    ReusesOneBuffer: "test_the_results_share_no_memory",
    Noisy: "test_the_same_arguments_give_the_same_bits",
    Remembers: "test_the_same_arguments_give_the_same_bits",
    FavoursTheFirst: "test_the_order_of_updates_does_not_matter",
    Overshoots: "test_the_result_lies_between_the_models",
    StepsOverBuffers: "test_what_it_makes_of_a_buffer_lies_between_the_models",
    HoardsResults: "test_tensors_are_read_and_made_one_at_a_time",
    DecodesAllAtOnce: "test_tensors_are_read_and_made_one_at_a_time",
    KeepsObjects: "test_the_state_can_be_stored_and_given_back",
    WritesIntoItsState: "test_the_state_can_be_stored_and_given_back",
}


def made(kind):
    return kind() if issubclass(kind, Correct) else kind(NoOptions(), None)


@pytest.mark.parametrize("kind", CAUGHT)
def test_a_wrong_merge_is_caught_by_the_test_that_is_made_for_it(kind):
    test = standard_tests(MergeConformance)[CAUGHT[kind]]
    with pytest.raises((AssertionError, ValueError, TypeError)):
        test(MergeConformance(), made(kind))


def test_each_test_of_the_kit_catches_something():
    assert set(CAUGHT.values()) == set(standard_tests(MergeConformance))


def test_what_the_wrong_ones_are_made_of_is_right():
    for test in standard_tests(MergeConformance).values():
        test(MergeConformance(), Correct())


def test_a_capability_that_is_denied_is_not_tested():
    class Overshooting(MergeConformance):
        stays_in_hull = False

    with pytest.raises(pytest.skip.Exception, match="stays_in_hull = False"):
        Overshooting().test_the_result_lies_between_the_models(Overshoots())


def test_a_subclass_without_the_fixture_is_told_so(pytester):
    pytester.makepyfile("from learnae.testing.merge_kit import MergeConformance\nclass TestMine(MergeConformance): pass")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["*TestMine needs a fixture `merge` that returns the merge under test*"])
    assert result.parseoutcomes()["errors"] == len(list(itertools.chain(standard_tests(MergeConformance))))
