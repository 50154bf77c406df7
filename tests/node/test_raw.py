"""Small tensors, vectors and buffers travel with every digit, whatever the codec: so that no variance becomes zero on the way."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from learnae.content.meta import Limits, decode_meta
from learnae.content.pack import pack
from learnae.content.unpack import Content
from learnae.errors import PluginError, UpdateRejectedError
from learnae.node.decoding import Decoder
from learnae.node.publishing import Publisher
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.node.tensors import encode_raw, travels_raw
from learnae.plugins.codec import Bf16, Fp32, Int8
from learnae.plugins.delta import Int4Delta, RandomSubset
from learnae.plugins.patch import Patch
from learnae.plugins.sparse import Sparse
from learnae.records import AnnouncementKind, Encoded, TensorSpec
from learnae.testing.context import make_context, peer_named

VARIANCES = np.float32(10) ** np.linspace(-2, 1, 512, dtype=np.float32)
SPECS = (
    TensorSpec(name="conv.weight", dtype="float32", shape=(64, 32)),
    TensorSpec(name="bn.running_var", dtype="float32", shape=(512,), buffer=True),
    TensorSpec(name="bn.num_batches_tracked", dtype="int64", shape=(), buffer=True),
    TensorSpec(name="norm.weight", dtype="bfloat16", shape=(4096,)),
    TensorSpec(name="head.weight", dtype="float32", shape=(10, 8)),
    TensorSpec(name="linear.parametrizations.weight.original0", dtype="float32", shape=(2048, 1)),
    TensorSpec(name="grn.gamma", dtype="float32", shape=(1, 1, 1, 2048)),
)


def values_of(spec: TensorSpec):
    if not spec.floating:
        return np.array(2**40 + 1)
    return np.resize(VARIANCES, spec.shape)


@pytest.fixture
def travelled(tmp_path):
    """What another peer has of an update by this codec: its decoder, after its check, and how the tensors were encoded."""

    def travel(codec, change=lambda encoded: encoded, specs=SPECS):
        named = ConfiguredStrategy("some", "some-plugin", codec(None, make_context(tmp_path)))
        snapshot = SimpleNamespace(tensors={spec.name: values_of(spec) for spec in specs})
        publisher = SimpleNamespace(specs=specs, strategies=SimpleNamespace(codec=named), _rng=np.random.default_rng(0))
        entries = [(spec, change(encoded)) for spec, encoded in Publisher._encoded(publisher, snapshot)]
        packed = pack(entries, peer=peer_named("alice"), kind=AnnouncementKind.UPDATE, number=1, codec="some")
        blocks = {block.cid: block.data for block in packed.blocks}
        [meta] = [data for data in blocks.values() if b"tensors" in data]
        content = Content(decode_meta([meta], Limits(10**7)), tuple(cid for cid in blocks if cid.startswith("bafkrei")), blocks)
        decoder = Decoder(content, named, {spec.name: spec for spec in specs})
        decoder.check()
        return decoder, {spec.name: encoded for spec, encoded in entries}

    return travel


@pytest.mark.parametrize("codec", [Int8, Fp32, Bf16, Int4Delta, RandomSubset, Sparse, Patch])
def test_variances_over_three_decades_arrive_exactly_by_any_codec(travelled, codec):
    decoder, _ = travelled(codec)
    for spec in SPECS[1:]:
        array = decoder.decode(spec.name).array
        assert (array.dtype, array.shape) == (np.float32 if spec.floating else np.int64, spec.shape)
        np.testing.assert_array_equal(array, values_of(spec), err_msg=spec.name)
    assert codec.lossless or decoder.sound >= {spec.name for spec in SPECS[1:]}


def test_a_lossless_codec_gets_vectors_and_small_tensors_too(travelled):
    _, encoded = travelled(Patch)
    assert {name for name, one in encoded.items() if "raw" not in one.meta} == {spec.name for spec in SPECS if not spec.buffer} | {
        "bn.num_batches_tracked"
    }


def test_what_is_large_still_goes_by_the_codec(travelled):
    _, encoded = travelled(Int8)
    assert len(encoded["conv.weight"].data) < 64 * 32 * 1.1


RAW = [(), (0, 5000), (1024,), (32, 32), (1 << 16,), (1 << 16, 1), (1, 2048, 1, 1), (1, 1, 1, 4096)]


@pytest.mark.parametrize(
    ("shape", "buffer", "raw"),
    [
        *((shape, False, True) for shape in RAW),
        ((33, 32), False, False),
        ((1, 33, 32), False, False),
        ((1 << 17, 1), False, False),
        ((1 << 17,), False, False),
        ((1 << 17,), True, True),
        ((512, 512), True, True),
    ],
)
def test_vectors_small_tensors_and_buffers_travel_raw(shape, buffer, raw):
    assert travels_raw(TensorSpec(name="w", dtype="float32", shape=shape, buffer=buffer)) is raw


def test_a_reader_goes_by_what_came_not_by_what_it_would_send(travelled):
    """As a peer sends whose rule is another one: all by the codec, or a large tensor raw."""
    large = (TensorSpec(name="conv.weight", dtype="float32", shape=(64, 32)),)
    decoder, _ = travelled(Int8, lambda encoded: encode_raw(large[0], values_of(large[0])), large)
    np.testing.assert_array_equal(decoder.decode("conv.weight").array, values_of(large[0]))
    small, int8 = (TensorSpec(name="w", dtype="float32", shape=(64,)),), Int8(None, None)
    decoder, _ = travelled(Int8, lambda encoded: int8.encode("w", values_of(small[0]), None, None), small)
    np.testing.assert_allclose(decoder.decode("w").array, values_of(small[0]), atol=0.1)


SPOILED = {
    "too few": lambda encoded: Encoded(encoded.data[:-4], encoded.meta),
    "too many": lambda encoded: Encoded(encoded.data + bytes(4), encoded.meta),
    "another type": lambda encoded: Encoded(encoded.data, {"raw": "float16"}),
    "a number": lambda encoded: Encoded(encoded.data, {"raw": 1}),
    "not said": lambda encoded: Encoded(encoded.data, {}),
}


@pytest.mark.parametrize("change", SPOILED.values(), ids=list(SPOILED))
def test_raw_bytes_that_do_not_fit_are_refused(travelled, change):
    with pytest.raises(UpdateRejectedError):
        travelled(Int8, change, (SPECS[1],))


def test_a_raw_tensor_that_is_not_finite_is_not_taken_for_sound(travelled):
    spoiled = Encoded(np.full(512, np.nan, "<f4").tobytes(), {"raw": "float32"})
    decoder, _ = travelled(Int8, lambda encoded: spoiled, (SPECS[1],))
    assert decoder.sound == set()


def test_a_codec_that_takes_the_name_is_named(travelled):
    class Greedy(Fp32):
        def encode(self, name, tensor, base, rng):
            return Encoded(super().encode(name, tensor, base, rng).data, {"raw": "float32"})

    with pytest.raises(PluginError, match="some-plugin"):
        travelled(Greedy)
