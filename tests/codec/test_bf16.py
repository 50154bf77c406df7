from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae import NoOptions, TensorSpec
from learnae.plugins.codec import Bf16
from learnae.testing.codec_kit import CodecConformance


class TestBf16(CodecConformance):
    @pytest.fixture
    def codec(self, learnae_context):
        return Bf16(NoOptions(), learnae_context)

    def error_bound(self, tensor):
        return bound(tensor)


def bound(tensor):
    """Half of the last of 8 bits, and of that of the smallest floats."""
    return np.abs(tensor.astype(np.float64)) * 2.0**-8 + 2.0**-134


def there_and_back(values):
    tensor = np.array(values, np.float32)
    codec = Bf16(NoOptions(), None)
    return codec.decode(codec.encode("w", tensor, None, None), TensorSpec(name="w", dtype="float32", shape=tensor.shape), None).array


def test_halves_are_rounded_to_even():
    # between 1 and 1 + 2^-7 lies 1 + 2^-8: to the even one; between 1 + 2^-7 and 1 + 2^-6 as well
    assert there_and_back([1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-8 + 2.0**-20]).tolist() == [1.0, 1 + 2.0**-6, 1 + 2.0**-7]


def test_values_are_little_endian_in_c_order():
    assert Bf16(NoOptions(), None).encode("w", np.array([[1, -2]], np.float32), None, None).data == bytes.fromhex("803f 00c0")


def test_it_rounds_as_torch_does():
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).integers(0, 2**32, 100_000, np.uint32).view(np.float32)
    values = values[np.isfinite(values) & (np.abs(values) < 3.38e38)]
    np.testing.assert_array_equal(there_and_back(values), torch.from_numpy(values).bfloat16().float().numpy())


@given(st.integers(0, 2**16 - 1))
def test_every_bfloat16_value_arrives_as_it_is(word):
    value = np.array([word << 16], np.uint32).view(np.float32)
    if np.isfinite(value).all():
        assert there_and_back(value).view(np.uint32)[0] == word << 16
