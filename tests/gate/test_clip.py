"""Clip: its limits in numbers, and what it is for: liars gain little, and nobody who comes back is locked out."""

from __future__ import annotations

import numpy as np
import pytest

from learnae.plugins.gate import Clip, ClipOptions
from learnae.plugins.merge import Average, AverageOptions
from learnae.testing.gate_kit import GateConformance
from learnae.testing.models import local_model, received


class TestClip(GateConformance):
    @pytest.fixture
    def gate(self, learnae_context):
        return Clip(ClipOptions(), learnae_context)


def vector(*values):
    return {"w": np.array(values, np.float32)}


def judge(own, *others, start=None, norms=(), factor=2.0, **claims):
    local = local_model(vector(*own), vector(*own if start is None else start))
    state = {"norms": np.array(norms, float)} if norms else {}
    return Clip(ClipOptions(factor=factor), None).judge(local, [received(vector(*other), **claims) for other in others], state)


def judge_in(state, own, *others, start=None):
    local = local_model(vector(*own), vector(*own if start is None else start))
    return Clip(ClipOptions(), None).judge(local, [received(vector(*other)) for other in others], state)


def scales(judged):
    return [verdict.scale for verdict in judged.verdicts]


def test_displacements_are_scaled_to_twice_the_median_of_the_last():
    judged = judge((0, 0), (3, 4), (30, 40), norms=(1, 3, 100))
    assert scales(judged) == [1.0, 6 / 50]
    assert [verdict.weight for verdict in judged.verdicts] == [1.0, 1.0]


def test_the_reason_tells_norm_and_limit():
    judged = judge((0, 0), (3, 4), (30, 40), norms=(3,))
    assert [verdict.reason for verdict in judged.verdicts] == ["norm 5 within the limit 6", "norm 50 scaled down to the limit 6"]


def test_norms_are_remembered_at_no_more_than_the_limit():
    assert judge((0, 0), (3, 4), (30, 40), norms=(3,)).state["norms"].tolist() == [3, 5, 6]


def test_twenty_norms_are_remembered():
    assert judge((0,), (1,), norms=range(1, 21)).state["norms"].tolist() == [*range(2, 21), 1]


def test_of_an_even_number_the_lower_median_counts():
    assert scales(judge((0,), (100,), norms=(1, 1, 9, 9))) == [0.02]


def test_the_own_displacement_is_always_allowed():
    assert scales(judge((5,), (105,), start=(0,), norms=(1e-9,))) == [0.05]


def test_without_history_the_own_displacement_is_the_limit():
    judged = judge((1,), (2,), (1001,), start=(0.5,))
    assert scales(judged) == [0.5, 0.0005]
    assert judged.state["norms"].tolist() == [0.5, 0.5]


def test_in_the_first_round_the_lowest_norm_is_the_limit():
    assert scales(judge((100,), (101,), (1100,))) == [1.0, 0.001]


def test_in_the_first_round_a_liar_alone_moves_the_model_by_a_twentieth():
    assert scales(judge((100,), (100_000,))) == [pytest.approx(5 / 99_900)]


def test_a_first_model_of_zeros_is_no_lock():
    assert scales(judge((0,), (3,), (6,))) == [1.0, 0.5]


def test_a_time_in_which_nothing_moved_is_no_lock():
    assert scales(judge((100,), (101,), (1100,), norms=(0, 0, 0))) == [1.0, 0.001]


def test_models_that_agree_hold_the_median_down():
    assert scales(judge((0,), (100,), norms=(0, 0, 0, 50), start=(1,))) == [0.01]


def test_what_was_refused_before_stays_refused_and_is_not_remembered():
    judged = judge((0,), (3,), norms=(1,), weight=0.0)
    assert [verdict.weight for verdict in judged.verdicts] == [0.0]
    assert judged.state is None


def test_what_cannot_be_scaled_is_refused():
    judged = judge((0,), (np.nan,), (1,), norms=(1,))
    assert [verdict.weight for verdict in judged.verdicts] == [0.0, 1.0]
    assert judged.state["norms"].tolist() == [1, 1]


def test_a_factor_below_one_is_refused():
    with pytest.raises(ValueError, match="factor"):
        ClipOptions(factor=0.9)


def test_two_liars_who_are_all_that_is_fetched_do_not_raise_the_limit_without_end():
    """Each round they lie just far enough away to be remembered with the whole limit. The own training moves by 1 in a round."""
    state, limit = {"norms": [1.0] * 20}, 0.0
    for _ in range(300):
        judged = judge_in(state, (0,), (1e9,), (-1e9,), start=(1,))
        state, limit = judged.state, judged.verdicts[0].scale * 1e9
        assert limit <= 20 * 1.001
    assert limit > 10, "partitions heal all the same"


def test_liars_who_stay_within_the_limit_of_each_round_do_not_raise_it_without_end_either():
    state, limit = {"norms": [1.0] * 20}, 2.0
    for _ in range(300):
        judged = judge_in(state, (0,), (limit,), (-limit,), start=(1,))
        state = judged.state
        limit = 2 * float(np.sort(state["norms"])[9])
    assert max(state["norms"]) <= 20 * 1.001


def test_a_peer_that_does_not_train_has_no_pace_that_bounds_the_limit():
    state = {"norms": [100.0] * 20}
    assert scales(judge_in(state, (0,), (1000,))) == [0.2]


class Peer:
    """A model that trains towards a goal, and merges what it is given behind the gate."""

    def __init__(self, model, goal=None, rate=0.0):
        self.start = self.model = np.array(model, np.float32)
        self.goal, self.rate, self.state = goal, rate, {}
        self.clip, self.average = Clip(ClipOptions(), None), Average(AverageOptions(), None)

    def train(self):
        if self.goal is not None:
            self.model = (self.model + self.rate * (self.goal - self.model)).astype(np.float32)

    def merge(self, *models):
        local = local_model({"w": self.model}, {"w": self.start})
        judged = self.clip.judge(local, [received({"w": model}) for model in models], self.state)
        self.state = judged.state or self.state
        scaled = [self.model + verdict.scale * (model - self.model) for verdict, model in zip(judged.verdicts, models, strict=True)]
        items = [received({"w": model}, weight=verdict.weight) for verdict, model in zip(judged.verdicts, scaled, strict=True)]
        self.start = self.model = dict(self.average.merge(local, items, {}).tensors)["w"]
        return judged.verdicts


def test_a_peer_that_comes_back_from_far_away_is_merged_until_it_is_near():
    home, near = Peer(np.zeros(4)), np.full(4, 0.5, np.float32)
    home.state = {"norms": np.ones(20)}
    far = np.full(4, 500, np.float32)  # 1000 away, 500 times the limit
    before, rounds = 1000.0, 0
    while (distance := float(np.linalg.norm(home.model - far))) > 1:
        [verdict] = home.merge(far)
        assert verdict.weight == 1.0
        assert verdict.scale > 0
        assert distance <= before
        before, rounds = distance, rounds + 1
        assert rounds < 150
    [verdict] = home.merge(near)
    assert verdict.scale > 0


def test_two_halves_of_a_swarm_find_together_again():
    rng = np.random.default_rng(0)
    west, east = np.full(8, -100.0), np.full(8, 100.0)
    peers = [Peer(side + rng.normal(0, 0.1, 8)) for side in (west, east) for _ in range(4)]
    for half in (range(4), range(4, 8)):  # apart: each half has a history of small displacements
        for _ in range(30):
            for index in half:
                peers[index].merge(*(peers[other].model for other in rng.choice([each for each in half if each != index], 2, False)))
                peers[index].model = peers[index].model + rng.normal(0, 0.1, 8).astype(np.float32)
    for _ in range(1000):
        for index, peer in enumerate(peers):
            peer.merge(*(peers[other].model for other in rng.choice([each for each in range(8) if each != index], 2, False)))
            peer.model = peer.model + rng.normal(0, 0.1, 8).astype(np.float32)
        spread = np.ptp([peer.model for peer in peers], axis=0).max()
        if spread < 2:
            return
    pytest.fail(f"still {spread} apart, of 200")


@pytest.mark.parametrize("honest", [2, 5])
def test_a_peer_that_sends_a_thousand_times_its_model_disturbs_little(honest):
    """Every peer fetches the liar in every round, beside one honest peer: more than it could ever reach by itself."""
    rng = np.random.default_rng(0)
    goal = np.array([3, -4, 0, 12], np.float32)  # of norm 13
    peers = [Peer(rng.normal(0, 1, 4), goal, 0.1) for _ in range(honest)]
    for _ in range(300):
        for peer in peers:
            peer.train()
        published = [peer.model for peer in peers]
        for index, peer in enumerate(peers):
            other = published[(index + rng.integers(1, honest)) % honest]
            peer.merge(other, -1000 * published[0])
    worst = max(float(np.linalg.norm(peer.model - goal)) for peer in peers)
    assert worst < 0.5 * 13, f"{worst} away from the goal"
