"""Average: the numbers of its formula, and the conformance kit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.plugins.merge import Average, AverageOptions
from learnae.testing.merge_kit import MergeConformance
from learnae.testing.models import local_model, received


class TestAverage(MergeConformance):
    @pytest.fixture
    def merge(self, learnae_context):
        return Average(AverageOptions(), learnae_context)


class TestAverageBySamples(MergeConformance):
    @pytest.fixture
    def merge(self, learnae_context):
        return Average(AverageOptions(weight="samples", staleness_power=0.0), learnae_context)


class TestAverageThatTrusts(MergeConformance):
    bounds_claims = False

    @pytest.fixture
    def merge(self, learnae_context):
        return Average(AverageOptions(trust_weights=True), learnae_context)


@pytest.fixture
def average(learnae_context):
    def make(**options):
        return Average(AverageOptions(**options), learnae_context)

    return make


def merged(merge, local, *items):
    return dict(merge.merge(local, items, {}).tensors)


def scalar(value, **claims):
    return received({"w": np.array([value], np.float32)}, **claims)


def own(value, **claims):
    return local_model({"w": np.array([value], np.float32)}, **claims)


def test_equal_peers_give_the_plain_mean(average):
    assert merged(average(), own(1), scalar(2), scalar(6))["w"].tolist() == [3.0]


def test_an_update_of_half_the_age_weighs_half(average):
    # (0 + 0.5 * 3) / (1 + 0.5)
    assert merged(average(), own(0, age=100), scalar(3, age=50))["w"].tolist() == [1.0]


def test_an_older_update_weighs_no_more_than_the_own_model(average):
    assert merged(average(), own(0, age=100), scalar(2, age=10_000))["w"].tolist() == [1.0]


def test_trusted_weights_are_believed_above_the_own(average):
    # (0 + 3 * 4) / (1 + 3)
    assert merged(average(trust_weights=True), own(0, age=100), scalar(4, age=300))["w"].tolist() == [3.0]


def test_an_update_three_rounds_old_weighs_half(average):
    # (1 + 3) ** -0.5 = 0.5, so (0 + 0.5 * 3) / 1.5
    assert merged(average(), own(0), scalar(3, staleness=3.0))["w"].tolist() == [1.0]


def test_what_the_gates_left_of_an_update_counts(average):
    # (0 + 0.25 * 5) / 1.25
    assert merged(average(), own(0), scalar(5, weight=0.25))["w"].tolist() == [1.0]


def test_weight_samples_looks_at_samples_and_not_at_age(average):
    # (0 + 0.5 * 3) / 1.5
    assert merged(average(weight="samples"), own(0, samples=8), scalar(3, samples=4, age=1))["w"].tolist() == [1.0]


def test_weight_equal_looks_at_neither(average):
    assert merged(average(weight="equal"), own(0), scalar(2, samples=1, age=1))["w"].tolist() == [1.0]


@pytest.mark.parametrize(("mine", "theirs"), [(0, 0), (0, 1), (0, 1000), (1, 0)])
def test_newcomers_without_age_count_as_equals(average, mine, theirs):
    assert merged(average(), own(0, age=mine), scalar(2, age=theirs))["w"].tolist() == [1.0]


def test_a_newcomer_hardly_moves_a_grown_model(average):
    # 0.001 * 1001 / 1.001
    assert merged(average(), own(0, age=1000), scalar(1001, age=0))["w"] == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("claim", [-5, 10**400])
def test_an_age_out_of_this_world_is_bounded(average, claim):
    for trust in (False, True):
        result = merged(average(trust_weights=trust), own(0, age=1), scalar(2, age=claim))["w"]
        assert 0 < result[0] <= 2


def test_models_that_agree_give_exactly_that_model(average):
    model = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    others = [received({"w": model}, age=age, staleness=staleness) for age, staleness in ((30, 0.7), (77, 1.3), (100, 0))]
    result = merged(average(), local_model({"w": model}), *others)["w"]
    np.testing.assert_array_equal(result, model)


LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("claim", [1, 100, 10**9])
@pytest.mark.parametrize("values", [(LARGEST, -LARGEST), (-LARGEST, LARGEST, -LARGEST), (0.5, LARGEST, LARGEST), (LARGEST, LARGEST)])
def test_the_largest_values_there_are_do_not_overflow(average, values, claim, trust):
    mine, *theirs = values
    result = merged(average(trust_weights=trust), own(mine, age=100), *(scalar(value, age=claim) for value in theirs))["w"]
    share = min(claim, 10**9 if trust else 100) / 100
    expected = np.average(np.array(values), weights=[1.0] + [share] * len(theirs))
    assert np.isfinite(result).all()
    assert result[0] == pytest.approx(expected, rel=1e-5, abs=1e-5 * LARGEST)


def by_the_book(local, items, power=0.5):
    """sum of w x / sum of w in float64, w = min(1, age / own age) * (1 + staleness)^-power * gate weight."""
    weights = [1.0] + [min(1.0, item.update.age / local.age) * (1 + item.staleness) ** -power * item.weight for item in items]
    models = np.stack([local.current["w"], *(item.tensors["w"] for item in items)]).astype(np.float64)
    return np.average(models, axis=0, weights=weights)


claims = st.tuples(st.integers(1, 10**6), st.floats(0, 20), st.floats(0.01, 1))


@given(st.lists(claims, min_size=1, max_size=5), st.integers(1, 10**6), st.floats(0, 2), st.integers(0, 2**32 - 1))
def test_any_weights_give_the_weighted_mean(claimed, age, power, seed):
    rng = np.random.default_rng(seed)
    local = local_model({"w": rng.standard_normal((5, 7)).astype(np.float32)}, age=age)
    items = [
        received({"w": rng.standard_normal((5, 7)).astype(np.float32)}, age=theirs, staleness=staleness, weight=weight)
        for theirs, staleness, weight in claimed
    ]
    result = merged(Average(AverageOptions(staleness_power=power), None), local, *items)["w"]
    np.testing.assert_allclose(result, by_the_book(local, items, power), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"weight": "fame"}, {"staleness_power": -1.0}])
def test_options_out_of_bounds_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        AverageOptions(**options)
