from __future__ import annotations

import numpy as np
import pytest

from learnae import NoOptions, TensorSpec
from learnae.plugins.codec import Fp32
from learnae.testing.codec_kit import CodecConformance


class TestFp32(CodecConformance):
    lossless = True

    @pytest.fixture
    def codec(self, learnae_context):
        return Fp32(NoOptions(), learnae_context)


def test_values_are_little_endian_in_c_order():
    encoded = Fp32(NoOptions(), None).encode("w", np.array([[1, 2], [3, 4]], np.float32).T, None, None)
    assert encoded.data == bytes.fromhex("0000803f 00004040 00000040 00008040")


def test_decoding_copies_nothing():
    codec = Fp32(NoOptions(), None)
    encoded = codec.encode("w", np.ones(3, np.float32), None, None)
    array = codec.decode(encoded, TensorSpec(name="w", dtype="float32", shape=(3,)), None).array
    assert np.shares_memory(array, np.frombuffer(encoded.data, np.uint8))
    assert not array.flags.writeable
