from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae import Encoded, NoOptions, TensorSpec, UpdateRejectedError
from learnae.plugins.codec import Int8
from learnae.testing.codec_kit import CodecConformance


def absmax(tensor):
    """The largest absolute value of the block of 64 that a value is in."""
    flat = np.abs(tensor.reshape(-1).astype(np.float64))
    blocks = np.pad(flat, (0, -flat.size % 64)).reshape(-1, 64)
    return np.repeat(blocks.max(axis=1), 64)[: flat.size].reshape(tensor.shape)


def bound(tensor):
    """Half a step and the rounding of the scale (2^-11); 2^-39 of the largest value; the last bits of the smallest floats."""
    largest = np.abs(tensor.astype(np.float64)).max(initial=0.0)
    return absmax(tensor) / 254 * (1 + 2**-9) + largest * 2.0**-39 + 1e-43


class TestInt8(CodecConformance):
    @pytest.fixture
    def codec(self, learnae_context):
        return Int8(NoOptions(), learnae_context)

    def error_bound(self, tensor):
        return bound(tensor)


@pytest.fixture
def codec():
    return Int8(NoOptions(), None)


def there_and_back(codec, tensor):
    tensor = np.asarray(tensor, np.float32)
    return codec.decode(codec.encode("w", tensor, None, None), TensorSpec(name="w", dtype="float32", shape=tensor.shape), None).array


def test_the_bytes_are_the_scales_and_then_the_levels(codec):
    # absmax 127: scale 1 = 2^14 * 2^-14, float16 0x7400
    encoded = codec.encode("w", np.array([127, -127, 1, 0], np.float32), None, None)
    assert encoded == Encoded(bytes.fromhex("0074 7f 81 01 00"), {"exponent": -14})


def test_halves_are_rounded_to_even(codec):
    assert there_and_back(codec, [127, 0.5, 1.5, 2.5, -0.5, -1.5])[1:].tolist() == [0, 2, 2, 0, -2]


def test_sixty_five_values_take_two_scales(codec):
    tensor = np.full(65, 127, np.float32)
    tensor[64] = 254
    encoded = codec.encode("w", tensor, None, None)
    assert len(encoded.data) == 2 * 2 + 65
    np.testing.assert_array_equal(there_and_back(codec, tensor), tensor)


def test_a_block_does_not_suffer_from_another(codec):
    tensor = np.concatenate([np.full(64, 1000.0), np.linspace(-1e-3, 1e-3, 64)]).astype(np.float32)
    error = np.abs(there_and_back(codec, tensor) - tensor)[64:]
    assert error.max() <= 1e-3 / 254 * 1.001


@pytest.mark.parametrize("magnitude", [3.4e38, 1e30, 1e6, 1.0, 1e-8, 1e-30, 1e-37])
def test_no_magnitude_is_lost(codec, magnitude):
    tensor = np.array([magnitude, -magnitude / 2, 0], np.float32)
    np.testing.assert_allclose(there_and_back(codec, tensor), tensor, rtol=0.01)


@given(st.integers(-100, 100), st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_scaling_a_tensor_by_a_power_of_two_scales_what_comes_back(power, seed, count):
    codec = Int8(NoOptions(), None)
    tensor = np.random.default_rng(seed).standard_normal(count).astype(np.float32)
    np.testing.assert_array_equal(there_and_back(codec, np.ldexp(tensor, power)), np.ldexp(there_and_back(codec, tensor), power))


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.floats(1e-30, 1e30))
def test_what_came_back_is_a_fixed_point_within_half_a_step(seed, count, magnitude):
    codec = Int8(NoOptions(), None)
    tensor = (np.random.default_rng(seed).standard_normal(count) * magnitude).astype(np.float32)
    once = there_and_back(codec, tensor)
    assert (np.abs(there_and_back(codec, once) - once) <= bound(once)).all()


def test_only_the_block_with_a_nan_is_not_finite(codec):
    tensor = np.ones(200, np.float32)
    tensor[70] = np.nan
    finite = np.isfinite(there_and_back(codec, tensor))
    assert not finite[64:128].any()
    assert finite[:64].all() and finite[128:].all()


def test_zeros_take_no_scale(codec):
    assert codec.encode("w", np.zeros(3, np.float32), None, None) == Encoded(bytes(2 + 3), {"exponent": 0})


def test_a_rejection_names_the_tensor_and_what_was_expected(codec):
    with pytest.raises(UpdateRejectedError, match=r"codec: conv\.weight: 9 bytes, expected 104 for the shape \(10, 10\)") as caught:
        codec.decode(Encoded(bytes(9), {"exponent": 0}), TensorSpec(name="conv.weight", dtype="float32", shape=(10, 10)), None)
    assert caught.value.reason == "codec"


@pytest.mark.parametrize("exponent", [-127, 128, True, 1.0, "1", None])
def test_an_exponent_that_is_none_is_rejected(codec, exponent):
    with pytest.raises(UpdateRejectedError, match="exponent is not a whole number"):
        codec.decode(Encoded(bytes(6), {"exponent": exponent}), TensorSpec(name="w", dtype="float32", shape=(4,)), None)


def test_finite_values_are_known_to_be_finite_without_decoding(codec):
    assert codec.finite(codec.encode("w", np.linspace(-3, 3, 100, dtype=np.float32), None, None))
    assert codec.finite(codec.encode("w", np.zeros(0, np.float32), None, None))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 63, 64, 99])
def test_one_value_that_is_not_finite_is_seen_without_decoding(codec, value, place):
    tensor = np.ones(100, np.float32)
    tensor[place] = value
    assert not codec.finite(codec.encode("w", tensor, None, None))


@given(st.binary(min_size=1, max_size=300), st.integers(-126, 127))
def test_whatever_is_called_finite_decodes_to_finite_values(data, exponent):
    codec, blocks = Int8(NoOptions(), None), -(-len(data) // 66)
    count = len(data) - 2 * blocks
    encoded = Encoded(data, {"exponent": exponent})
    if count > 0 and -(-count // 64) == blocks and codec.finite(encoded):
        assert np.isfinite(codec.decode(encoded, TensorSpec(name="w", dtype="float32", shape=(count,)), None).array).all()
