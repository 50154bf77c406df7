from __future__ import annotations

import attrs
import numpy as np
import pytest

from learnae import NoOptions, Verdict
from learnae.elementwise import PIECE
from learnae.plugins.gate import Sane
from learnae.testing.gate_kit import GateConformance
from learnae.testing.models import LazyModel, constant_model, local_model, random_model, received

REFUSED = {reason: Verdict(weight=0.0, reason=reason) for reason in ("non-finite", "wrong-shape")}


class TestSane(GateConformance):
    @pytest.fixture
    def gate(self, learnae_context):
        return Sane(NoOptions(), learnae_context)


def judge(*models, **claims):
    items = [received(model, **claims) for model in models]
    return list(Sane(NoOptions(), None).judge(local_model(random_model(0)), items, {}).verdicts)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "index"), [("weight", 0), ("temperature", 0), ("embedding", 0), ("embedding", PIECE + 2)])
def test_one_value_that_is_not_finite_is_enough(name, index, value):
    model = random_model(1)
    model[name].reshape(-1)[index] = value
    assert judge(model) == [REFUSED["non-finite"]]


def test_a_missing_tensor_is_refused():
    model = random_model(1)
    del model["bias"]
    assert judge(model) == [REFUSED["wrong-shape"]]


@pytest.mark.parametrize("shape", [(4, 3), (12,), (3, 5), (1, 3, 4)])
def test_another_shape_is_refused(shape):
    assert judge(random_model(1) | {"weight": np.zeros(shape, np.float32)}) == [REFUSED["wrong-shape"]]


def test_values_however_large_pass():
    assert judge(constant_model(1e18), constant_model(0)) == [Verdict(), Verdict()]


def test_each_is_judged_alone():
    bad = random_model(1)
    bad["bias"][:] = np.nan
    assert judge(random_model(2), bad, random_model(3)) == [Verdict(), REFUSED["non-finite"], Verdict()]


def test_what_did_not_come_may_be_anything():
    model, came = random_model(1), np.array([True, False, True, True])
    model["bias"][1] = np.nan
    assert judge(model, masks={"bias": came}) == [Verdict()]
    assert judge(model, masks={"bias": ~came}) == [REFUSED["non-finite"]]


def judge_known(model, sound):
    """The verdict on a model of which so much is known, and the names of the tensors that were decoded for it."""
    tensors = LazyModel(model)
    item = attrs.evolve(received(tensors), sound=frozenset(sound))
    (verdict,) = Sane(NoOptions(), None).judge(local_model(random_model(0)), [item], {}).verdicts
    return verdict, set(tensors.reads)


def test_what_is_known_to_be_sound_is_not_decoded():
    model = random_model(1)
    assert judge_known(model, sound=model) == (Verdict(), set())


def test_what_is_not_known_to_be_sound_is_looked_at():
    model = random_model(1)
    model["bias"][0] = np.nan
    assert judge_known(model, sound=set(model) - {"bias"}) == (REFUSED["non-finite"], {"bias"})
