"""Codecs by which each version says how it differs from the one before."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from learnae import Encoded, TensorSpec, UpdateRejectedError
from learnae.plugins.codec import deflated, from_bfloat16, to_bfloat16
from learnae.plugins.patch import Patch, PatchOptions
from learnae.plugins.sparse import Sparse, SparseOptions
from learnae.testing.codec_kit import CodecConformance
from tests.codec.test_bf16 import bound as rounding

LIKE = TensorSpec(name="w", dtype="bfloat16", shape=(1000,))


class TestPatch(CodecConformance):
    lossless = True

    @pytest.fixture
    def codec(self, learnae_context):
        return Patch(PatchOptions(), learnae_context)


class TestSparse(CodecConformance):
    @pytest.fixture
    def codec(self, learnae_context):
        return Sparse(SparseOptions(), learnae_context)

    def error_bound(self, tensor):
        return rounding(tensor)

    def error_bound_beside(self, tensor, base):
        """What is not sent is off by its residual; what is, by a step at most, which is an eighth of the largest."""
        tensor, base = tensor.astype(np.float64), base.astype(np.float64)
        largest = np.abs(tensor - base).max(initial=0.0)
        error = np.maximum(np.abs(tensor - base), largest / 8) * (1 + 2**-7) + 2.0**-22 * (np.abs(tensor) + np.abs(base)) + 1e-42
        return np.where(largest > 3.4e38, np.inf, error)


def halves(values):
    """The nearest values of bfloat16."""
    return from_bfloat16(to_bfloat16(np.asarray(values, np.float32)), TensorSpec(name="w", dtype="float32", shape=np.shape(values)))


@given(st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=40), st.data())
def test_a_patch_is_bit_identical_whatever_the_bits_mean(words, data):
    """Zeros with a sign, infinities and what is no number included."""
    others = data.draw(st.lists(st.integers(0, 2**16 - 1), min_size=len(words), max_size=len(words)))
    before, after = ((np.array(some, np.uint32) << np.uint32(16)).view(np.float32) for some in (words, others))
    mixed = np.where(np.arange(len(words)) % 3 == 0, after, before)
    codec, like = Patch(PatchOptions(), None), TensorSpec(name="w", dtype="bfloat16", shape=(len(words),))
    encoded = codec.encode("w", mixed, before, None)
    np.testing.assert_array_equal(codec.decode(encoded, like, before).array.view(np.uint32), mixed.view(np.uint32))


@given(arrays.arrays(np.uint32, 9), arrays.arrays(np.uint32, 9))
def test_a_patch_of_float32_is_bit_identical(before, after):
    codec, like = Patch(PatchOptions(), None), TensorSpec(name="w", dtype="float32", shape=(9,))
    after[:5] = before[:5]
    encoded = codec.encode("w", after.view(np.float32), before.view(np.float32), None)
    np.testing.assert_array_equal(codec.decode(encoded, like, before.view(np.float32)).array.view(np.uint32), after)


@pytest.mark.parametrize(("dtype", "bytes_"), [("bfloat16", 2), ("float16", 2), ("float32", 4)])
def test_a_tensor_travels_in_the_narrowest_dtype_that_holds_it(dtype, bytes_):
    values = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    tensor = {"bfloat16": halves(values), "float16": values.astype(np.float16).astype(np.float32), "float32": values}[dtype]
    encoded = Patch(PatchOptions(), None).encode("w", tensor, None, None)
    assert encoded.meta == {"dtype": dtype}
    assert len(zlib.decompress(encoded.data, -15)) == bytes_ * 5000


def test_a_value_in_a_hundred_takes_some_fiftieth_of_the_model():
    rng = np.random.default_rng(0)
    before = halves(rng.normal(0, 0.02, 100_000))
    words = before.view(np.uint32).copy()
    words[rng.random(words.size) < 0.01] += 1 << 16  # the next value
    encoded = Patch(PatchOptions(), None).encode("w", words.view(np.float32), before, None)
    assert encoded.meta["changed"] < 1200
    assert len(encoded.data) < 2 * 100_000 / 100


def test_what_has_changed_all_over_is_whole():
    codec, before = Patch(PatchOptions(), None), halves(np.linspace(-1, 1, 1000))
    assert "changed" not in codec.encode("w", halves(before * 1.5), before, None).meta
    assert codec.encode("w", before, before, None).meta["changed"] == 0


def test_nothing_is_unpacked_beyond_what_the_tensor_takes():
    bomb = deflated(bytes(50_000_000))
    for codec, meta in (
        (Patch(PatchOptions(), None), {"dtype": "bfloat16"}),
        (Patch(PatchOptions(), None), {"dtype": "bfloat16", "changed": 1000, "far": 1000, "count": 1000}),
        (Sparse(SparseOptions(), None), {"sent": 1000, "far": 1000, "exponent": 0, "bits": 4, "count": 1000}),
    ):
        with pytest.raises(UpdateRejectedError):
            codec.check(Encoded(bomb, meta), LIKE, np.zeros(1000, np.float32))


PLACES = {
    "behind the last value": (b"\xff\x00", 1, 1000),
    "that is near and says it is far": (b"\xff\x00", 1, 200),
    "far, and none says so": (b"\x01\x00", 1, 300),
}


@pytest.mark.parametrize(("gaps", "far", "gap"), PLACES.values(), ids=list(PLACES))
def test_a_place_that_is_none_is_rejected(gaps, far, gap):
    data = deflated(gaps + np.array([gap], "<u4").tobytes() + bytes(4))
    with pytest.raises(UpdateRejectedError):
        Patch(PatchOptions(), None).check(
            Encoded(data, {"dtype": "bfloat16", "changed": 2, "far": far, "count": 1000}), LIKE, np.zeros(1000, np.float32)
        )


def test_what_was_not_sent_comes_with_later_versions():
    codec, like = Sparse(SparseOptions(share=0.1), None), TensorSpec(name="w", dtype="float32", shape=(1000,))
    model, copy = np.random.default_rng(0).standard_normal(1000).astype(np.float32), np.zeros(1000, np.float32)
    errors = []
    for _ in range(30):
        copy = codec.decode(codec.encode("w", model, copy, None), like, copy).array
        errors.append(float(np.abs(model - copy).max()))
    assert errors[0] > 1.5 and errors[-1] < 0.01


def test_a_tenth_of_the_values_in_four_bits_takes_a_twentieth_of_bfloat16():
    model = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    assert len(Sparse(SparseOptions(), None).encode("w", model, 0 * model, None).data) < 2 * 100_000 / 16
    tight = Sparse(SparseOptions(share=0.0156, bits=2), None).encode("w", model, 0 * model, None)
    assert len(tight.data) < 2 * 100_000 / 80
