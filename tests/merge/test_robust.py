"""The robust merges: the conformance kit, numbers by hand, and the same results as byzfl, the library of their field."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest

from learnae.plugins import robust
from learnae.testing.merge_kit import MergeConformance
from learnae.testing.models import local_model, received

RULES = [robust.Median, robust.TrimmedMean, robust.Krum, robust.MultiKrum, robust.GeometricMedian, robust.CenteredClipping]


def make(rule: Any, **options: Any) -> Any:
    return rule(rule.Options(**options), None)


class RobustConformance(MergeConformance):
    """Distances are taken before the first tensor is made, so each update is read twice, one tensor after the other."""

    rule: Any
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def merge(self, learnae_context):
        return self.rule(self.rule.Options(**self.options), learnae_context)


class TestMedian(RobustConformance):
    rule = robust.Median


class TestMedianOfMixed(RobustConformance):
    rule, options = robust.Median, {"nnm": 1}


class TestTrimmedMean(RobustConformance):
    rule = robust.TrimmedMean


class TestKrum(RobustConformance):
    rule, includes_own = robust.Krum, False


class TestMultiKrum(RobustConformance):
    rule, includes_own = robust.MultiKrum, False


class TestGeometricMedian(RobustConformance):
    rule = robust.GeometricMedian


class TestGeometricMedianOfMixed(RobustConformance):
    rule, options = robust.GeometricMedian, {"nnm": 1}


class TestCenteredClipping(RobustConformance):
    rule = robust.CenteredClipping


@pytest.fixture
def byzfl(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """Its aggregators and pre-aggregators. What its own `__init__` imports beside them wants images and pictures."""
    if (spec := importlib.util.find_spec("byzfl")) is None or spec.submodule_search_locations is None:
        pytest.skip("needs byzfl: make setup")
    package = types.ModuleType("byzfl")
    package.__path__ = [str(Path(place)) for place in spec.submodule_search_locations]
    monkeypatch.setitem(sys.modules, "byzfl", package)
    yield importlib.import_module("byzfl.aggregators.aggregators"), importlib.import_module("byzfl.aggregators.preaggregators")
    for name in [name for name in sys.modules if name.startswith("byzfl.")]:
        del sys.modules[name]


def merged(rule: Any, rows: np.ndarray) -> np.ndarray:
    """Of rows that are cut into two tensors each."""
    own, *others = ({"a": row[:20].reshape(4, 5).astype(np.float32), "b": row[20:].astype(np.float32)} for row in rows)
    result = dict(rule.merge(local_model(own), [received(other) for other in others], {}).tensors)
    return np.concatenate([result["a"].reshape(-1), result["b"]])


@pytest.mark.parametrize("nnm", [False, True])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("rule", "theirs", "options"),
    [
        (robust.Median, lambda library, f: library.Median(), {}),
        (robust.TrimmedMean, lambda library, f: library.TrMean(f), {}),
        (robust.Krum, lambda library, f: library.Krum(f), {}),
        (robust.MultiKrum, lambda library, f: library.MultiKrum(f), {}),
        (robust.GeometricMedian, lambda library, f: library.GeometricMedian(nu=0.1, T=60), {"smoothing": 0.1, "iterations": 60}),
    ],
    ids=["median", "trimmed-mean", "krum", "multi-krum", "geometric-median"],
)
def test_it_is_what_byzfl_makes_of_the_same_models(byzfl, rule, theirs, options, seed, nnm) -> None:
    rows, f = np.random.default_rng(seed).normal(size=(11, 50)).astype(np.float32), 2
    aggregators, before = byzfl
    expected = theirs(aggregators, f)(before.NNM(f)(rows.astype(np.float64)) if nnm else rows.astype(np.float64))
    np.testing.assert_allclose(
        merged(make(rule, **({"f": f} if rule.Options is robust.RobustOptions else {}), nnm=f if nnm else 0, **options), rows),
        expected,
        atol=1e-5,
    )


@pytest.mark.parametrize("iterations", [1, 3])
def test_centered_clipping_is_that_of_byzfl_around_the_own_model(byzfl, iterations) -> None:
    """Theirs begins at zero, so the own model is zero here."""
    rows = np.random.default_rng(0).normal(size=(11, 50)).astype(np.float32)
    rows[0] = 0
    expected = byzfl[0].CenteredClipping(L=iterations, tau=3.0)
    with np.errstate(divide="ignore"):
        found = expected(rows.astype(np.float64))
    np.testing.assert_allclose(merged(make(robust.CenteredClipping, radius=3.0, iterations=iterations), rows), found, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_one_liar_of_five_moves_it_no_further_than_the_honest_lie_apart(rule) -> None:
    rows = np.random.default_rng(1).normal(size=(5, 50)).astype(np.float32)
    rows[3] = 1e30
    distance = np.linalg.norm(merged(make(rule), rows) - rows[[0, 1, 2, 4]].mean(axis=0))
    assert distance < 20


@pytest.mark.parametrize("nnm", [0, 1])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("liars", [1, 2, 3])
def test_values_as_large_as_there_are_make_nothing_infinite(rule, liars, nnm) -> None:
    """One value that is not finite, and the merge of all others would not come about."""
    rows = np.random.default_rng(1).normal(size=(4, 50)).astype(np.float32)
    rows[4 - liars :] = np.finfo(np.float32).max
    assert np.isfinite(merged(make(rule, nnm=nnm), rows)).all()


def test_f_is_lowered_where_too_few_models_came() -> None:
    """Of two models none can be called hostile: f = 0, and the trimmed mean is the mean."""
    assert merged(make(robust.TrimmedMean, f=5), np.array([[0.0] * 50, [1.0] * 50])).tolist() == [0.5] * 50


def test_the_trimmed_mean_drops_the_ends_by_hand() -> None:
    rows = np.array([[1.0], [2.0], [4.0], [9.0], [100.0]]) * np.ones((1, 50))
    assert merged(make(robust.TrimmedMean, f=1), rows).tolist() == [5.0] * 50


def test_only_rules_that_use_f_have_it_and_all_can_mix_before() -> None:
    assert all("nnm" in attrs.fields_dict(rule.Options) for rule in RULES)
    assert [rule for rule in RULES if "f" in attrs.fields_dict(rule.Options)] == [robust.TrimmedMean, robust.Krum, robust.MultiKrum]
