"""The compiled kernels give numpy's bits, and numpy's give what is worked out by hand; neither is needed for the other."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learnae import kernels, numpy_kernels
from tools.compare_kernels import results, same


@pytest.fixture(scope="module")
def compiled():
    return pytest.importorskip(
        "learnae_kernels", reason="learnae-kernels is optional, and not installed: where cargo is, `make setup` builds it"
    )


def floats(*values):
    return np.array(values, np.float32)


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32), count=st.one_of(st.integers(0, 200), st.integers(0, 3000)))
def test_both_give_the_same_bits(compiled, seed, count):
    ours, theirs = results(numpy_kernels, seed, count), results(compiled, seed, count)
    assert all(map(same, ours, theirs))


def test_a_whole_piece_gives_the_same_bits(compiled):
    assert all(map(same, results(numpy_kernels, 5, 1 << 16), results(compiled, 5, 1 << 16)))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("largest", (np.zeros(65, np.float32), np.zeros(1))),
        ("quantise", (np.zeros(65, np.float32), np.ones(1, np.float32), np.zeros(65, np.int8))),
        ("dequantise", (np.zeros(64, np.int8), np.ones(1, np.float32), np.zeros(63, np.float32))),
        ("squared_distance", (np.zeros(3, np.float32), np.zeros(4, np.float32))),
        ("moved", (np.zeros(3, np.float32), [np.zeros(2, np.float32)], np.ones(1, np.float32), np.zeros(3, np.float32))),
        ("squares", (np.zeros((4, 4), np.float32)[:, 1],)),
        ("is_finite", (b"".join([b"abc"]),)),
        ("step", (*[np.zeros(3, np.float32)] * 2, *[np.zeros(4, np.float32)] * 2, 0.9, 0.7, True)),
    ],
)
def test_what_does_not_fit_is_an_error_and_touches_no_memory(compiled, name, arguments):
    with pytest.raises((ValueError, BufferError)):
        getattr(compiled, name)(*arguments)


def test_what_may_only_be_read_is_not_written_to(compiled):
    room = np.zeros(64, np.float32)
    room.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        compiled.dequantise(np.ones(64, np.int8), np.ones(1, np.float32), room)


def test_without_them_numpy_serves(monkeypatch):
    monkeypatch.setitem(sys.modules, "learnae_kernels", None)
    try:
        assert importlib.reload(kernels).COMPILED is False
        assert kernels.squares is numpy_kernels.squares
    finally:
        monkeypatch.undo()
        importlib.reload(kernels)


def test_a_block_is_quantised_half_to_even_within_its_range():
    levels = np.empty(5, np.int8)
    numpy_kernels.quantise(floats(0.5, 1.5, 2.5, -2.5, 1e9), floats(1.0), levels)
    assert levels.tolist() == [0, 2, 2, -2, 127]


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_block_without_a_scale_is_zero(scale):
    levels = np.empty(3, np.int8)
    numpy_kernels.quantise(floats(1.0, np.inf, -2.0), floats(scale), levels)
    assert levels.tolist() == [0, 0, 0]


def test_a_step_of_nesterov_by_hand():
    # d = 2 - 1 = 1; m = 0.5 * 4 + 1 = 3; value = 2 - 0.5 * (1 + 0.5 * 3) = 0.75
    values, changed = floats(1.0), floats(0.0)
    numpy_kernels.step(floats(2.0), values, floats(4.0), changed, 0.5, 0.5, True)
    assert (values.tolist(), changed.tolist()) == ([0.75], [3.0])


def test_a_mean_of_what_is_too_far_apart_is_told_to_be_infinite():
    out = floats(0.0)
    assert not numpy_kernels.moved(floats(-3e38), [floats(3e38)], floats(0.5), out)
    assert numpy_kernels.moved(floats(1.0), [floats(3.0), floats(-1.0)], floats(0.25, 0.5), out)
    assert out.tolist() == [0.5]  # 1 + 0.25 * 2 - 0.5 * 2
