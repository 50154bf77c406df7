"""Whether a model is finite, looked at in pieces."""

from __future__ import annotations

import numpy as np
import pytest

from learnae.elementwise import PIECE
from learnae.node.tensors import finite


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, PIECE - 1, PIECE, 2 * PIECE + 1])
def test_one_value_that_is_not_finite_is_enough(value, place):
    values = np.ones(2 * PIECE + 2, np.float32)
    values[place] = value
    assert not finite([np.zeros(3, np.float32), values])


def test_opposite_infinities_do_not_cancel_out():
    assert not finite([np.array([np.inf, -np.inf], np.float32)])


def test_the_largest_values_are_finite_though_their_squares_are_not():
    assert finite([np.full(PIECE + 1, np.finfo(np.float32).max)])


def test_integers_and_empty_tensors_are_finite():
    assert finite([np.array([1 << 62]), np.empty(0, np.float32), np.array(1.5, np.float32)])


def test_a_transposed_array_is_looked_at_whole():
    values = np.ones((3, 4), np.float32)
    values[2, 3] = np.nan
    assert not finite([values.T])
    assert not finite([values[:, ::-1]])
