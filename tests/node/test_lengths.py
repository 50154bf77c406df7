"""Buffers of unit vectors, such as a normalised codebook, hold unit vectors after a merge."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from learnae.node.merging import keep_length


def unit(seed: int, shape: tuple[int, ...], axis: int):
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return values / np.linalg.norm(values, axis=axis, keepdims=True)


@pytest.mark.parametrize(("shape", "axis"), [((9,), 0), ((5, 9), 1), ((5, 9), 0), ((1, 6, 4), 2), ((4, 3, 2), 0)])
def test_an_average_of_unit_vectors_becomes_a_unit_vector_of_that_direction(shape, axis):
    own = unit(0, shape, axis)
    near = own + np.float32(0.2) * unit(1, shape, axis)
    near /= np.linalg.norm(near, axis=axis, keepdims=True)
    average = (own + near) / 2
    merged = average.copy()
    keep_length(merged, own, [near])
    np.testing.assert_allclose(np.linalg.norm(merged, axis=axis), 1.0, atol=1e-5)
    np.testing.assert_allclose(merged * np.linalg.norm(average, axis=axis, keepdims=True), average, atol=1e-5)


def test_where_the_vectors_cancel_each_other_out_the_own_stay():
    own = unit(0, (5, 9), 1)
    merged = np.zeros_like(own)
    keep_length(merged, own, [-own])
    np.testing.assert_array_equal(merged, own)


ONE_HOT = np.array([0, 0, 1, 0], np.float32)
BY_CHANCE = {
    "a covariance that is still the identity": (np.eye(3), np.array([[4, 2, 0], [2, 3, 1], [0, 1, 2]])),
    "variances": (np.array([0.6, 0.8]), np.array([1.4, 1.2])),
    "a prior": (ONE_HOT, np.full(4, 0.25)),
    "a prior of two peers who saw one class each": (ONE_HOT, ONE_HOT[::-1]),
}


@pytest.mark.parametrize(("own", "theirs"), BY_CHANCE.values(), ids=list(BY_CHANCE))
def test_what_looks_like_unit_vectors_in_one_peer_alone_is_no_unit_vector(own, theirs):
    own, theirs = np.float32(own), np.float32(theirs)
    merged = (own + theirs) / 2
    expected = merged.copy()
    keep_length(merged, own, [own, theirs])
    np.testing.assert_array_equal(merged, expected)


def test_a_large_buffer_is_not_copied_in_float64():
    own = unit(0, (1 << 14, 64), 1)
    merged = own * np.float32(0.9)
    tracemalloc.start()
    keep_length(merged, own, [own])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < own.nbytes
    np.testing.assert_allclose(merged, own, atol=1e-5)


OTHERS = {
    "variances": np.linspace(0.1, 3, 8, dtype=np.float32),
    "ones": np.ones((8, 1), np.float32),
    "of several lengths": np.array([[1, 0], [0.6, 0.8], [0, 0]], np.float32),
    "a number": np.array(1.0, np.float32),
    "nothing": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("own", OTHERS.values(), ids=list(OTHERS))
def test_all_other_buffers_are_what_the_merge_made_of_them(own):
    merged = own * np.float32(0.9)
    expected = merged.copy()
    keep_length(merged, own, [own])
    np.testing.assert_array_equal(merged, expected)


def test_what_all_agree_on_stays_bit_for_bit():
    own = unit(0, (5, 9), 1)
    merged = own.copy()
    keep_length(merged, own, [own])
    np.testing.assert_array_equal(merged, own)
