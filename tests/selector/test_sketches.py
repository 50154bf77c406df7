"""Sketches tell how different two models are, from 400 bytes of each, alike on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.records import TensorSpec
from learnae.sketches import SKETCH_BYTES, Sketcher, difference, sums_of

SMALL = (TensorSpec(name="weight", dtype="float32", shape=(30, 20)), TensorSpec(name="bias", dtype="bfloat16", shape=(30,)))
LARGE = (TensorSpec(name="table", dtype="float32", shape=(3000, 200)), TensorSpec(name="bias", dtype="float32", shape=(50,)))
Model = Mapping[str, Any]


def model(specs: tuple[TensorSpec, ...], seed: int = 0, scale: float = 1.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {spec.name: (scale * rng.standard_normal(spec.shape)).astype(np.float32) for spec in specs}


def sketched(tensors: Model, specs: tuple[TensorSpec, ...] = SMALL) -> bytes:
    return Sketcher.for_specs(specs).sketch(tensors)


def true_difference(one: Model, other: Model) -> float:
    first, second = (np.concatenate([part.reshape(-1) for part in found.values()]).astype(np.float64) for found in (one, other))
    return float(np.linalg.norm(first - second) / (np.linalg.norm(first) + np.linalg.norm(second)))


def test_a_model_does_not_differ_from_itself_and_differs_from_its_opposite_as_far_as_can_be() -> None:
    own = model(SMALL)
    assert len(sketched(own)) == SKETCH_BYTES == 400
    assert difference(sketched(own), sketched(own)) == 0.0
    assert difference(sketched(own), sketched({name: -part for name, part in own.items()})) == pytest.approx(1.0)


@pytest.mark.parametrize("specs", [SMALL, LARGE], ids=["whole", "sampled"])
@pytest.mark.parametrize("step", [0.02, 0.3, 3.0])
def test_the_difference_is_about_that_of_the_models(specs: tuple[TensorSpec, ...], step: float) -> None:
    """Six standard deviations of seven hundredths, at least."""
    own, moved = model(specs), model(specs, seed=1, scale=step)
    other = {name: own[name] + moved[name] for name in own}
    assert difference(sketched(own, specs), sketched(other, specs)) == pytest.approx(true_difference(own, other), rel=0.35)


def test_of_a_sampled_model_a_small_tensor_that_alone_has_changed_is_seen() -> None:
    own = model(LARGE)
    other = {**own, "bias": own["bias"] + 100.0}
    assert difference(sketched(own, LARGE), sketched(other, LARGE)) == pytest.approx(true_difference(own, other), rel=0.35)


def test_sketches_are_the_same_on_every_machine() -> None:
    """Whole numbers, whose sums are exact: so the order in which they are added up does not matter."""
    for specs, expected in ((SMALL, "3b462005f3c9ee16"), (LARGE, "37528fda022c7365")):
        tensors = {spec.name: (np.arange(spec.count) * 7919 % 1009 - 504).reshape(spec.shape).astype(np.float32) for spec in specs}
        assert hashlib.sha256(sums_of(sketched(tensors, specs)).tobytes()).hexdigest()[:16] == expected  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [3e38, 1e-44, 0.0, 65504.0])
def test_models_of_any_scale_have_a_sketch(value: float) -> None:
    own = {spec.name: np.full(spec.shape, value, np.float32) for spec in SMALL}
    half = {name: part / np.float32(2) for name, part in own.items()}
    assert sums_of(sketched(own)) is not None
    found = difference(sketched(own), sketched(half))
    assert found == (0.0 if value == 0.0 else pytest.approx(true_difference(own, half), rel=0.35))


def test_only_weights_are_sketched() -> None:
    more = (
        *SMALL,
        TensorSpec(name="running", dtype="float32", shape=(4,), buffer=True),
        TensorSpec(name="count", dtype="int64", shape=()),
        TensorSpec(name="unit", dtype="float32", shape=(4,), apart=True),
    )
    tensors = {**model(SMALL), "running": np.full(4, 1e9, np.float32), "count": np.int64(7), "unit": np.ones(4, np.float32)}
    assert sketched(tensors, more) == sketched(tensors)


def test_a_model_without_weights_has_a_sketch_that_differs_from_no_other() -> None:
    empty = Sketcher.for_specs(()).sketch({})
    assert difference(empty, empty) == 0.0


def halves(*numbers: float) -> bytes:
    return np.array(numbers, "<f2").tobytes()


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        bytes(399),
        bytes(402),
        halves(0.0, *[0.0] * 198, np.nan),
        halves(0.0, *[0.0] * 198, np.inf),
        halves(np.nan, *[0.0] * 199),
        halves(0.5, *[0.0] * 199),
        halves(300.0, *[0.0] * 199),
        halves(0.0, *[0.0] * 198, 1.5),
    ],
    ids=["none", "short", "long", "nan", "infinite", "no exponent", "half an exponent", "large exponent", "large sum"],
)
def test_what_is_no_sketch_differs_from_nothing(bad: bytes) -> None:
    assert sums_of(bad) is None
    assert difference(bad, sketched(model(SMALL))) is None
    assert difference(sketched(model(SMALL)), bad) is None


@given(one=st.binary(min_size=400, max_size=400), other=st.binary(min_size=400, max_size=400))
def test_whatever_a_peer_sends_the_difference_is_a_share_or_unknown(one: bytes, other: bytes) -> None:
    found = difference(one, other)
    assert found is None or 0.0 <= found <= 1.0 + 1e-9
    assert found == difference(other, one)
