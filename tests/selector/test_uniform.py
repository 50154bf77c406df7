from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from learnae import NoOptions
from learnae.plugins.selector import Uniform
from learnae.testing.context import make_context
from learnae.testing.selector_kit import SelectorConformance, candidate, view


class TestUniform(SelectorConformance):
    @pytest.fixture
    def selector(self, learnae_context):
        return Uniform(NoOptions(), learnae_context)


@pytest.fixture
def selector_of(tmp_path):
    def make(seed):
        return Uniform(NoOptions(), make_context(tmp_path, seed=seed))

    return make


def test_everyone_is_as_likely(selector_of):
    everyone = [candidate(peer) for peer in "abcd"]
    selector = selector_of(0)
    chosen = Counter(each.peer for _ in range(2000) for each in selector.select(view(*everyone)))
    # each in half of 2,000 draws; six standard deviations of sqrt(2000) / 2
    assert np.abs(np.array([chosen[each.peer] for each in everyone]) - 1000).max() < 135


def test_a_seed_repeats_its_choices(selector_of):
    seen = view(*(candidate(str(index)) for index in range(10)), count=5)
    assert selector_of(1).select(seen) == selector_of(1).select(seen)
    assert selector_of(1).select(seen) != selector_of(2).select(seen)


def test_what_does_not_fit_leaves_its_place_to_others(selector_of):
    small, large = candidate("a", bytes=10), candidate("b", bytes=1000)
    for seed in range(10):
        assert selector_of(seed).select(view(small, large, budget_bytes=100)) == [small]
