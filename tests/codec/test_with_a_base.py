"""Codecs by which most versions say how they differ from a base."""

from __future__ import annotations

import numpy as np
import pytest

from learnae import Encoded, NoOptions, TensorSpec, UpdateRejectedError
from learnae.plugins.codec import deflated
from learnae.plugins.delta import DeltaOptions, Int4Delta, RandomSubset, SubsetOptions
from learnae.testing.codec_kit import CodecConformance
from tests.codec.test_bf16 import bound as rounding

W = TensorSpec(name="w", dtype="float32", shape=(4,))


def absmax(differences):
    """The largest absolute difference of the block of 64 that a value is in."""
    flat = np.abs(differences.reshape(-1))
    blocks = np.pad(flat, (0, -flat.size % 64)).reshape(-1, 64)
    return np.repeat(blocks.max(axis=1), 64)[: flat.size].reshape(differences.shape)


class TestInt4Delta(CodecConformance):
    @pytest.fixture
    def codec(self, learnae_context):
        return Int4Delta(DeltaOptions(), learnae_context)

    def error_bound(self, tensor):
        return rounding(tensor)

    def error_bound_beside(self, tensor, base):
        """Half a step with the rounding of the scale, of differences and sums as float32, and 2^-39 of the largest."""
        tensor, base = tensor.astype(np.float64), base.astype(np.float64)
        largest = np.abs(tensor - base).max(initial=0.0)
        wide = 2.0**-23 * (np.abs(tensor) + np.abs(base) + absmax(tensor - base))
        error = absmax(tensor - base) / 14 * (1 + 2**-7) + wide + largest * 2.0**-38 + 1e-42
        return np.where(largest > 3.4e38, np.inf, error)


class TestRandomSubset(CodecConformance):
    @pytest.fixture
    def codec(self, learnae_context):
        return RandomSubset(SubsetOptions(), learnae_context)

    def error_bound(self, tensor):
        return rounding(tensor)

    def error_bound_beside(self, tensor, base):
        return rounding(tensor)


def test_the_bytes_are_the_scales_and_then_two_differences_in_each():
    # differences 7, -7, 1, 0: scale 1 = 2^14 * 2^-14; levels 15, 1, 9, 8, the first in the low half
    codec, base = Int4Delta(DeltaOptions(), None), np.full(4, 100, np.float32)
    encoded = codec.encode("w", base + np.array([7, -7, 1, 0], np.float32), base, None)
    assert encoded == Encoded(bytes.fromhex("0074 1f 89"), {"exponent": -14})
    assert codec.decode(encoded, W, base).array.tolist() == [107, 93, 101, 100]


def test_what_has_not_changed_stays_as_it_is_beside_what_has():
    codec, base = Int4Delta(DeltaOptions(), None), np.linspace(-1, 1, 200, dtype=np.float32)
    tensor = base.copy()
    tensor[70] += 1
    got = codec.decode(codec.encode("w", tensor, base, None), TensorSpec(name="w", dtype="float32", shape=(200,)), base).array
    assert np.flatnonzero(got != base).tolist() == [70]


def test_a_difference_that_is_not_finite_spoils_its_block_alone():
    codec, base = Int4Delta(DeltaOptions(), None), np.ones(200, np.float32)
    tensor = base.copy()
    tensor[70] = np.nan
    got = codec.decode(codec.encode("w", tensor, base, None), TensorSpec(name="w", dtype="float32", shape=(200,)), base).array
    assert np.flatnonzero(~np.isfinite(got)).tolist() == list(range(64, 128))


def test_it_takes_half_a_byte_a_value_and_a_base_two():
    codec, tensor = Int4Delta(DeltaOptions(), None), np.random.default_rng(0).standard_normal(6400).astype(np.float32)
    assert len(codec.encode("w", tensor, None, None).data) <= 2 * 6400
    assert len(codec.encode("w", tensor, 0 * tensor, None).data) <= 6400 // 2 + 100 * 2


def test_where_little_has_changed_it_takes_less():
    codec, tensor = Int4Delta(DeltaOptions(), None), np.ones(6400, np.float32)
    assert len(codec.encode("w", tensor, tensor, None).data) < 100 * 2 + 6400 // 7


def test_nothing_is_unpacked_beyond_what_the_tensor_takes():
    like = TensorSpec(name="w", dtype="float32", shape=(10_000,))
    for base in (None, np.zeros(10_000, np.float32)):
        for size in (9_999, 20_001, 60_000):
            data = bytes(0 if base is None else 157 * 2) + deflated(bytes(size))
            with pytest.raises(UpdateRejectedError):
                Int4Delta(DeltaOptions(), None).check(Encoded(data, {"exponent": 0}), like, base)


def test_a_subset_has_its_share_of_the_values_and_others_each_time():
    codec, tensor = RandomSubset(SubsetOptions(share=0.25), None), np.ones(100_000, np.float32)
    rng, like = np.random.default_rng(0), TensorSpec(name="w", dtype="float32", shape=(100_000,))
    masks = [codec.decode(codec.encode("w", tensor, 0 * tensor, rng), like, 0 * tensor).mask for _ in range(2)]
    for mask in masks:
        assert 0.24 < mask.mean() < 0.26
    assert 0.24 < masks[0][masks[1]].mean() < 0.26


def test_every_machine_draws_the_same_subset():
    codec, like = RandomSubset(SubsetOptions(share=0.5), None), TensorSpec(name="w", dtype="float32", shape=(12,))
    encoded = Encoded(bytes(2 * 7), {"seed": 1, "below": 2**31})
    assert np.flatnonzero(codec.decode(encoded, like, np.ones(12, np.float32)).mask).tolist() == [1, 2, 4, 5, 6, 9, 10]


@pytest.mark.parametrize("meta", [{}, {"seed": 1}, {"seed": -1, "below": 5}, {"seed": 1, "below": 0}, {"seed": 1.0, "below": 5}])
def test_a_subset_without_seed_or_share_is_rejected(meta):
    with pytest.raises(UpdateRejectedError):
        RandomSubset(NoOptions(), None).check(Encoded(b"", meta), W, np.ones(4, np.float32))
