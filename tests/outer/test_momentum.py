"""The outer optimisers: the numbers of their formulas, what did not come, and the conformance kit."""

from __future__ import annotations

import numpy as np
import pytest

from learnae.plugins.outer import NoLoco, NoLocoOptions, OuterMomentum, QuasiGlobal, QuasiGlobalOptions
from learnae.testing.models import local_model
from learnae.testing.outer_kit import OuterConformance


class TestQuasiGlobal(OuterConformance):
    @pytest.fixture
    def outer(self, learnae_context):
        return QuasiGlobal(QuasiGlobalOptions(), learnae_context)


class TestNoLoco(OuterConformance):
    @pytest.fixture
    def outer(self, learnae_context):
        return NoLoco(NoLocoOptions(), learnae_context)


def steps(outer: OuterMomentum, start: float, *merged: float) -> list[float]:
    """One number that is merged again and again; between the merges nobody trains."""
    state, reached = {}, []
    for value in merged:
        model = {"w": np.array([start], np.float32)}
        step = outer.step(local_model(model, model), iter([("w", np.array([value], np.float32))]), {}, state)
        start = float(dict(step.tensors)["w"][0])
        reached.append(start)
        state = step.state
    return reached


def test_the_quasi_global_step_looks_ahead_along_its_momentum() -> None:
    """g = 1 - 0: m = 1, 1 - 0.5 (1 + 0.5 * 1) = 0.25. Then g = 0.25 - 0.25: m = 0.5, 0.25 - 0.5 (0 + 0.5 * 0.5) = 0.125."""
    assert steps(QuasiGlobal(QuasiGlobalOptions(momentum=0.5, rate=0.5), None), 1.0, 0.0, 0.25) == [0.25, 0.125]


def test_the_heavy_ball_goes_where_its_momentum_goes() -> None:
    """g = 1: m = 1, 1 - 0.5 = 0.5. Then g = 0: m = 0.5, 0.5 - 0.5 * 0.5 = 0.25."""
    assert steps(NoLoco(NoLocoOptions(momentum=0.5, rate=0.5), None), 1.0, 0.0, 0.5) == [0.5, 0.25]


def test_without_momentum_and_with_a_rate_of_one_the_merged_model_stays() -> None:
    assert steps(QuasiGlobal(QuasiGlobalOptions(momentum=0.0, rate=1.0), None), 1.0, 0.25, 0.5) == [0.25, 0.5]


def test_what_did_not_come_keeps_its_momentum() -> None:
    outer, model = QuasiGlobal(QuasiGlobalOptions(), None), {"w": np.ones(2, np.float32)}
    local = local_model(model, model)
    first = outer.step(local, iter([("w", np.zeros(2, np.float32))]), {}, {})
    list(first.tensors)
    second = outer.step(local, iter([("w", np.zeros(2, np.float32))]), {"w": np.array([True, False])}, first.state)
    list(second.tensors)
    np.testing.assert_allclose(second.state["w"], [1.9, 1.0])


def test_a_state_of_another_shape_is_begun_anew() -> None:
    outer, model = QuasiGlobal(QuasiGlobalOptions(), None), {"w": np.ones(2, np.float32)}
    step = outer.step(local_model(model, model), iter([("w", np.zeros(2, np.float32))]), {}, {"w": np.ones((3, 3), np.float32)})
    list(step.tensors)
    assert step.state["w"].tolist() == [1.0, 1.0]
