from __future__ import annotations

import numpy as np
import pytest

from learnae.elementwise import PIECE
from learnae.plugins.gate import distance, length


def model(*values, **others):
    return {"w": np.array(values, np.float32)} | others


def test_a_distance_is_euclidean_over_all_floating_tensors():
    own, other = model(1, 1, b=np.zeros(1, np.float32)), model(3, 4, b=np.full(1, 6, np.float32))
    assert distance(own, other) == 7.0  # sqrt(2^2 + 3^2 + 6^2)


def test_integers_do_not_count():
    assert distance(model(0, n=np.array(0)), model(3, n=np.array(10**9))) == 3.0
    assert length(model(3, 4, n=np.array(10**9))) == 5.0


def test_only_what_came_counts():
    assert distance(model(0, 0), model(3, np.nan), {"w": np.array([True, False])}) == 3.0


def test_many_pieces_add_up():
    count = 4 * PIECE + 5
    assert distance({"w": np.zeros(count, np.float32)}, {"w": np.full(count, 0.5, np.float32)}) == pytest.approx(0.5 * count**0.5, rel=1e-6)


@pytest.mark.parametrize("value", [1e-38, 1e-20, 1e19, 1e38])
def test_squares_beyond_float32_are_no_obstacle(value):
    assert distance(model(0), model(value)) == pytest.approx(value, rel=1e-6)
    assert length(model(value)) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_shows(value):
    assert not np.isfinite(distance(model(0, 0), model(1, value)))
