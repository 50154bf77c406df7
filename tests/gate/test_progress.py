"""The gates that measure by the own training: their limits in numbers, and whom they do not lock out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from learnae.plugins.progress import MOST_SAMPLED, OwnPace, OwnPaceOptions, Progress, ProgressOptions
from learnae.testing.gate_kit import GateConformance
from learnae.testing.models import local_model, received


class TestProgress(GateConformance):
    @pytest.fixture
    def gate(self, learnae_context):
        return Progress(ProgressOptions(), learnae_context)


class TestOwnPace(GateConformance):
    @pytest.fixture
    def gate(self, learnae_context):
        return OwnPace(OwnPaceOptions(), learnae_context)


def vector(*values):
    return {"w": np.array(values, np.float32)}


def judge(gate, start, *others, current=None, state=None):
    return gate.judge(local_model(vector(*(current or start)), vector(*start)), [received(vector(*other)) for other in others], state or {})


def weights(judged):
    return [verdict.weight for verdict in judged.verdicts]


def after_a_step(gate):
    """The own merged model went from (0, 0) to (10, 0); four updates of others were level with it before."""
    return judge(gate, (0, 0), *[(0, 0)] * 4).state


def test_what_takes_back_more_than_a_share_of_the_own_progress_is_refused():
    """(2, 0) lies behind by 0.8, (4, 0) by 0.6, and (12, 0) is ahead."""
    gate = Progress(ProgressOptions(), None)
    assert weights(judge(gate, (10, 0), (2, 0), (4, 0), (12, 0), (10, 3), state=after_a_step(gate))) == [0.0, 1.0, 1.0, 1.0]


def test_the_anchor_follows_the_own_model():
    gate = Progress(ProgressOptions(rounds=4), None)
    state = judge(gate, (10, 0), state=after_a_step(gate)).state
    np.testing.assert_allclose(state["anchor"], (2.5, 0))
    assert weights(judge(gate, (10, 0), (4, 0), state=state)) == [0.0], "behind by 6 of 7.5"


def test_what_lies_behind_and_far_to_the_side_may_be_noise_and_passes():
    gate = Progress(ProgressOptions(), None)
    assert weights(judge(gate, (10, 0), (0, 12), (0, 1), state=after_a_step(gate))) == [1.0, 0.0]


def test_a_peer_to_which_all_others_are_behind_locks_nobody_out_for_good():
    gate = Progress(ProgressOptions(rounds=1000), None)
    state = after_a_step(gate)
    refused = 0
    while weights(judged := judge(gate, (10, 0), (0, 1), (0, -1), state=state)) == [0.0, 0.0]:
        state, refused = judged.state, refused + 2
        assert refused < 15, "three quarters of the last twenty are behind"
    assert weights(judged) == [1.0, 1.0] and refused > 4


def test_one_of_two_peers_that_train_on_different_rows_is_always_behind_and_passes():
    """Its turns come after 2, 4, 8 rounds once it is refused: of a single other peer twenty updates would never be judged."""
    gate = Progress(ProgressOptions(rounds=1000), None)
    state = judge(gate, (0, 0)).state
    for _ in range(5):
        judged = judge(gate, (10, 0), (0, 1), state=state)
        assert weights(judged) == [1.0]
        state = judged.state


def test_a_few_liars_among_many_do_not_make_what_is_behind_usual():
    gate = Progress(ProgressOptions(), None)
    others = [(0, 0), (0, 0), (10, 1), (11, 0), (10, -1), (9, 0), (10, 2), (10, 0)]
    assert weights(judge(gate, (10, 0), *others, state=after_a_step(gate))) == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_what_did_not_come_takes_nothing_back():
    gate = Progress(ProgressOptions(), None)
    other = received(vector(0, 1), masks={"w": np.array([False, True])})
    assert weights(gate.judge(local_model(vector(10, 0)), [other], after_a_step(gate))) == [1.0]


def test_buffers_and_another_model_than_before_are_no_progress():
    gate = Progress(ProgressOptions(), None)
    own = {"w": np.zeros(2, np.float32), "mean": np.array([10.0], np.float32), "seen": np.array([3])}
    old = {**own, "mean": np.array([0.0], np.float32)}
    local = local_model(own, buffers=["mean"])
    assert weights(gate.judge(local, [received(old)], gate.judge(local, [], after_a_step(gate)).state)) == [1.0]
    longer = local_model({"w": np.full(3, 10.0, np.float32)})
    assert weights(gate.judge(longer, [received({"w": np.zeros(3, np.float32)})], after_a_step(gate))) == [1.0]


def test_of_a_large_model_a_sample_is_remembered(learnae_context):
    gate = Progress(ProgressOptions(), learnae_context)
    size = 4 * MOST_SAMPLED
    zeros = {"w": np.zeros(size, np.float32)}
    start = gate.judge(local_model(zeros), [received(zeros)] * 4, {}).state
    assert MOST_SAMPLED / 2 < start["anchor"].size <= MOST_SAMPLED
    judged = gate.judge(local_model({"w": np.ones(size, np.float32)}), [received({"w": np.zeros(size, np.float32)})], start)
    assert weights(judged) == [0.0] and judged.state["offset"] == start["offset"]


def scales(judged):
    return [verdict.scale for verdict in judged.verdicts]


def test_nobody_moves_the_model_by_more_than_a_multiple_of_the_own_pace():
    """The own displacement is 2, so the limit is 5."""
    judged = judge(OwnPace(OwnPaceOptions(), None), (0, 0), (2, 4), (2, 10), (2e3, 0), current=(2, 0))
    assert weights(judged) == [1.0] * 3 and scales(judged) == pytest.approx([1.0, 0.5, 5 / 1998])


def test_the_pace_is_a_running_mean_that_no_other_model_moves():
    gate = OwnPace(OwnPaceOptions(rounds=4), None)
    state = judge(gate, (0, 0), *[(1e30, 0)] * 9, current=(2, 0)).state
    assert state["pace"] == 2
    state = judge(gate, (0, 0), (1e30, 0), current=(6, 0), state=state).state
    assert state["pace"] == 3
    assert judge(gate, (0, 0), (1, 0), state=state).state["pace"] == 3, "where nothing was trained the pace is kept"


def test_a_peer_that_has_not_trained_yet_limits_nothing():
    assert scales(judge(OwnPace(OwnPaceOptions(), None), (0, 0), (100, 0))) == [1.0]


@pytest.mark.parametrize("gate", [Progress(ProgressOptions(), None), OwnPace(OwnPaceOptions(), None)])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_and_not_remembered(gate, value):
    state = judge(gate, (1, 1), (1, 2)).state
    judged = judge(gate, (1, 1), (value, 1), current=(1, 2), state=state)
    assert weights(judged) == [0.0]
    assert all(np.isfinite(each).all() for each in judged.state.values())
