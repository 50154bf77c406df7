"""Balance and balance-auto: their limits in numbers, and that nobody who is far away is locked out for good."""

from __future__ import annotations

import math

import numpy as np
import pytest

from learnae.plugins.balance import Balance, BalanceAuto, BalanceOptions, BalanceOwn, BalanceOwnOptions
from learnae.testing.gate_kit import GateConformance
from learnae.testing.models import local_model, received


class TestBalance(GateConformance):
    @pytest.fixture
    def gate(self, learnae_context):
        return Balance(BalanceOptions(radius=1e6), learnae_context)


class TestBalanceAuto(GateConformance):
    @pytest.fixture
    def gate(self, learnae_context):
        return BalanceAuto(BalanceOptions(radius=1e6), learnae_context)


class TestBalanceOwn(GateConformance):
    @pytest.fixture
    def gate(self, learnae_context):
        return BalanceOwn(BalanceOwnOptions(radius=1e6), learnae_context)


def vector(*values):
    return {"w": np.array(values, np.float32)}


def judge(gate, own, *others, age=0, state=None):
    return gate.judge(local_model(vector(*own), age=age), [received(vector(*other)) for other in others], state or {})


def weights(judged):
    return [verdict.weight for verdict in judged.verdicts]


def test_balance_accepts_up_to_a_share_of_the_own_norm() -> None:
    """The own norm is 5, the limit 1.5."""
    assert weights(judge(Balance(BalanceOptions(), None), (3, 4), (3, 5.4), (3, 5.6), (-3, -4))) == [1.0, 0.0, 0.0]


def test_the_radius_shrinks_over_the_horizon_and_stays_there() -> None:
    gate = Balance(BalanceOptions(radius=1.0, horizon_steps=100), None)
    for age, limit in ((0, 5.0), (50, 5 * math.exp(-0.5)), (100, 5 / math.e), (1000, 5 / math.e)):
        assert weights(judge(gate, (3, 4), (3, 4 + 0.99 * limit), (3, 4 + 1.01 * limit), age=age)) == [1.0, 0.0], age


def test_balance_own_accepts_whoever_lies_within_three_own_displacements() -> None:
    """The norm is 1, a share of it 0.3; the own model has moved by 1 since the last merge."""
    gate, local = BalanceOwn(BalanceOwnOptions(), None), local_model(vector(0, 1), vector(0, 0))
    judged = gate.judge(local, [received(vector(*other)) for other in ((0, 3.9), (0, 4.1), (2, 0))], {})
    assert weights(judged) == [1.0, 0.0, 1.0]


def test_balance_auto_accepts_up_to_twice_the_lower_quartile() -> None:
    """Distances 0.1, 0.2, 0.21, 1, 1.2: the lower quartile of five is the second, 0.2."""
    others = [(3, 4 + far) for far in (1.2, 0.1, 0.21, 1.0, 0.2)]
    assert weights(judge(BalanceAuto(BalanceOptions(), None), (3, 4), *others)) == [0.0, 1.0, 1.0, 0.0, 1.0]


def test_a_copy_of_the_own_model_keeps_no_honest_one_out_of_balance_auto() -> None:
    """The own model has moved by 0.5 since the last merge, and the honest lie as far away."""
    gate, local = BalanceAuto(BalanceOptions(), None), local_model(vector(3, 4), vector(3, 3.5))
    judged = gate.judge(local, [received(vector(*other)) for other in ((3, 4.001), (3.4, 4.3), (2.6, 4.3))], {})
    assert weights(judged) == [1.0, 1.0, 1.0]


def test_balance_auto_accepts_nobody_beyond_the_radius() -> None:
    assert weights(judge(BalanceAuto(BalanceOptions(), None), (3, 4), (-3, -4), (-3, -4))) == [0.0, 0.0]


def test_what_did_not_come_does_not_count_in_the_distance() -> None:
    other = received(vector(3, 900), masks={"w": np.array([True, False])})
    assert weights(Balance(BalanceOptions(), None).judge(local_model(vector(3, 4)), [other], {})) == [1.0]


def test_values_that_are_no_numbers_are_refused_and_remembered_as_nothing() -> None:
    judged = judge(Balance(BalanceOptions(), None), (3, 4), (math.nan, 0))
    assert weights(judged) == [0.0] and judged.state["refused"].tolist() == []


@pytest.mark.parametrize("kind", [Balance, BalanceAuto])
def test_after_many_refusals_the_nearest_comes_in_steps_of_the_limit(kind) -> None:
    gate, state = kind(BalanceOptions(), None), {}
    for _ in range(10):
        judged = judge(gate, (3, 4), (3, 4.1), (30, 4), state=state)
        state = judged.state
    judged = judge(gate, (3, 4), (3, 4.1), (30, 4), (3, 24), state=state)
    assert weights(judged) == [1.0, 0.0, 1.0]
    assert judged.verdicts[2].scale * 20 <= 1.5 + 1e-6


def test_a_single_other_peer_that_is_far_away_comes_in_steps_of_the_limit_after_three_refusals() -> None:
    gate, state, found = Balance(BalanceOptions(), None), {}, []
    for _ in range(5):
        judged = judge(gate, (3, 4), (3, 24), state=state)
        state = judged.state
        found += weights(judged)
    assert found == [0.0, 0.0, 0.0, 1.0, 1.0]
    assert judged.verdicts[0].scale * 20 <= 1.5 + 1e-6


def test_few_refusals_let_no_liar_in() -> None:
    gate, state = Balance(BalanceOptions(), None), {}
    for _ in range(30):
        judged = judge(gate, (3, 4), (3, 4.1), (3.1, 4), (3, 4), (-3, -4), state=state)
        assert weights(judged) == [1.0, 1.0, 1.0, 0.0]
        state = judged.state
