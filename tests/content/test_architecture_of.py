from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.content.meta import architecture_of, first_difference
from learnae.records import TensorSpec

WEIGHT, BIAS = TensorSpec(name="weight", dtype="float32", shape=(10, 32)), TensorSpec(name="bias", dtype="float32", shape=(10,))


@given(st.permutations([WEIGHT, BIAS, TensorSpec(name="scale", dtype="float32", shape=())]))
def test_the_order_of_tensors_does_not_matter(specs: list[TensorSpec]) -> None:
    content = b"\x82\x60\x83" + b"\x82\x64bias\x81\x0a" + b"\x82\x65scale\x80" + b"\x82\x66weight\x82\x0a\x18\x20"
    assert architecture_of(specs) == hashlib.sha256(b"learnae/model/1" + content).digest()[:8]


def test_peers_may_differ_in_dtypes() -> None:
    assert architecture_of([WEIGHT]) == architecture_of([TensorSpec(name="weight", dtype="bfloat16", shape=(10, 32))])


@pytest.mark.parametrize(
    "other",
    [
        [TensorSpec(name="weight", dtype="float32", shape=(32, 10)), BIAS],
        [TensorSpec(name="weight", dtype="float32", shape=(320,)), BIAS],
        [TensorSpec(name="weights", dtype="float32", shape=(10, 32)), BIAS],
        [WEIGHT],
        [],
    ],
)
def test_another_name_shape_or_number_of_tensors_is_another_model(other: list[TensorSpec]) -> None:
    assert architecture_of(other) != architecture_of([WEIGHT, BIAS])
    assert len(architecture_of(other)) == 8


def test_other_frozen_parameters_are_another_model() -> None:
    assert len({architecture_of([WEIGHT], frozen) for frozen in (b"", b"\1", b"\2")}) == 3


def test_the_first_difference_is_told_in_words() -> None:
    def spec(name: str, *shape: int, dtype: str = "float32") -> TensorSpec:
        return TensorSpec(name=name, dtype=dtype, shape=shape)

    here = [spec("layer1.weight", 3), spec("layer2.weight", 10, 32), spec("scale")]
    assert first_difference(here, here[::-1]) is None
    assert first_difference(here, [spec(s.name, *s.shape, dtype="bfloat16") for s in here]) is None
    assert first_difference(here, [here[0], spec("layer2.weight", 10, 64), here[2]]) == "layer2.weight is 10x32 here, 10x64 there"
    assert first_difference(here, here[:2]) == "scale is a scalar here and missing there"
    assert first_difference(here[1:], here) == "layer1.weight is 3 there and missing here"
