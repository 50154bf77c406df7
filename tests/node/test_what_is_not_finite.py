from __future__ import annotations

import numpy as np
import pytest

from learnae.node.tensors import finite, what_is_not
from learnae.records import TensorSpec

W, MASK, COUNT = (
    TensorSpec(name="w", dtype="float32", shape=(2, 2)),
    TensorSpec(name="mask", dtype="float32", shape=(3,), buffer=True),
    TensorSpec(name="n", dtype="int64", shape=()),
)


def model(**tensors: list[float]) -> dict[str, np.ndarray]:
    whole = {"w": [[0.0, 1.0], [2.0, 3.0]], "mask": [0.0, 0.0, 0.0], "n": 1, **tensors}
    return {name: np.array(values, np.int64 if name == "n" else np.float32) for name, values in whole.items()}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named_with_how_much_of_it(value: float) -> None:
    tensors = model(w=[[0.0, value], [value, 1.0]])
    assert not finite(tensors.values())
    said = what_is_not(tensors, (W, MASK, COUNT))
    assert "w (2 of 4 values)" in said and "mask" not in said and "learning rate" in said


def test_a_buffer_may_be_meant_to_be_so() -> None:
    said = what_is_not(model(mask=[-np.inf, 0.0, 0.0]), (W, MASK, COUNT))
    assert "mask (1 of 3 values)" in said and "keep_local" in said


def test_of_many_some_are_named() -> None:
    specs = [TensorSpec(name=f"t{index}", dtype="float32", shape=(1,)) for index in range(9)]
    said = what_is_not({spec.name: np.full(1, np.nan, np.float32) for spec in specs}, specs)
    assert "t0" in said and "t3" in said and "t4" not in said and "5 more" in said
