"""The gate `reputation`: weights worked out by hand, whom it holds down, and that it shuts nobody out."""

from __future__ import annotations

import numpy as np
import pytest

from learnae.plugins.reputation import MOST_PEERS, Reputation, ReputationOptions
from learnae.testing.gate_kit import GateConformance
from learnae.testing.models import local_model, received


class TestReputation(GateConformance):
    @pytest.fixture
    def gate(self, learnae_context):
        return Reputation(ReputationOptions(), learnae_context)


def judge(distances, state=None, own=(0.0,), **claims):
    """One round, in which these peers lie so far away; the weights by their names, and the state."""
    model = np.array(own, np.float32)
    items = [received({"w": model + np.float32(far)}, peer=peer, **claims) for peer, far in distances.items()]
    judged = Reputation(ReputationOptions(), None).judge(local_model({"w": model}), items, state or {})
    return {peer: verdict.weight for peer, verdict in zip(distances, judged.verdicts, strict=True)}, judged.state


def rounds(count, distances, state=None):
    weights = {}
    for _ in range(count):
        weights, state = judge(distances, state)
    return weights, state


def test_a_peer_twice_as_far_away_as_most_counts_by_the_fourth_power_from_its_third_update_on():
    """(1.25 / 2) ^ 4 = 0.1526: of the distances 1, 1 and 2 the median is 1."""
    distances = {"a": 1.0, "b": 1.0, "far": 2.0}
    early, state = rounds(2, distances)
    assert early == {"a": 1.0, "b": 1.0, "far": 1.0}
    weights, _ = judge(distances, state)
    assert weights == {"a": 1.0, "b": 1.0, "far": pytest.approx(0.1526, abs=1e-4)}


def test_a_single_update_from_far_away_costs_little():
    """The score is then a third of log 2, which is 1.26 times as far: (1.25 / 1.26) ^ 4 = 0.97."""
    _, state = rounds(5, {"a": 1.0, "b": 1.0, "c": 1.0})
    weights, _ = judge({"a": 1.0, "b": 1.0, "c": 2.0}, state)
    assert weights["c"] == pytest.approx((1.25 / 2 ** (1 / 3)) ** 4)
    assert weights["c"] > 0.9


def test_copies_of_the_own_model_do_not_make_an_honest_peer_look_far_away():
    """One liar of two sends what this peer has itself: then half of all distances are nearly zero."""
    weights, _ = rounds(30, {"liar": 1e-6, "honest": 1.0})
    assert weights["honest"] == 1.0


def test_updates_from_nearby_earn_no_credit_for_one_from_far_away():
    weights, state = rounds(12, {"a": 1.0, "b": 1.0, "liar": 1.0})
    for _ in range(4):
        _, state = rounds(2, {"a": 1.0, "b": 1.0, "liar": 1e-6}, state)
        weights, state = judge({"a": 1.0, "b": 1.0, "liar": 4.0}, state)
    assert weights["liar"] < 0.35


def test_whoever_comes_near_counts_fully_again():
    _, state = rounds(10, {"a": 1.0, "b": 1.0, "far": 4.0})
    weights, state = rounds(5, {"a": 1.0, "b": 1.0, "far": 1.0}, state)
    assert weights["far"] == 1.0


def test_nobody_is_shut_out_however_far_away_and_a_reason_says_it():
    weights, state = rounds(20, {"a": 1.0, "b": 1.0, "far": 1e6})
    assert weights["far"] == pytest.approx(0.1)
    model = {"w": np.zeros(1, np.float32)}
    judged = Reputation(ReputationOptions(), None).judge(
        local_model(model), [received({"w": np.full(1, 1e6, np.float32)}, peer="far")], state
    )
    assert "reputation" in judged.verdicts[0].reason


def test_of_two_peers_each_counts_fully_for_the_other_however_far_apart():
    weights, _ = rounds(30, {"other": 100.0})
    assert weights == {"other": 1.0}


def test_of_three_that_all_differ_none_is_held_down():
    weights, _ = rounds(30, {"one": 1.0, "other": 1.3})
    assert weights == {"one": 1.0, "other": 1.0}


def test_where_all_others_agree_with_the_own_model_one_that_does_not_counts_least():
    weights, _ = rounds(20, {"a": 0.0, "b": 0.0, "far": 1.0})
    assert weights == {"a": 1.0, "b": 1.0, "far": pytest.approx(0.1)}


def test_what_was_refused_before_or_is_not_finite_is_refused_and_not_remembered():
    weights, state = judge({"a": 1.0}, weight=0.0)
    assert weights == {"a": 0.0} and not state["peers"]
    weights, state = judge({"a": np.nan}, state)
    assert weights == {"a": 0.0} and not state["peers"] and not state["distances"].size


def test_of_too_many_peers_the_ones_that_were_judged_longest_ago_are_forgotten():
    _, state = judge({f"peer-{index}": 1.0 for index in range(MOST_PEERS + 3)})
    assert len(state["peers"].split()) == len(state["scores"]) == len(state["counts"]) == MOST_PEERS


@pytest.mark.parametrize("wrong", [{"least": 0.0}, {"least": 1.5}, {"typical": 0.9}, {"power": -1.0}])
def test_options_without_meaning_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ReputationOptions(**wrong)
