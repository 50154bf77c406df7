"""What hostile content is refused for before anybody looks at it, and that later looks raise nothing that ends a node."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.content.meta import Limits, decode_meta
from learnae.content.pack import pack
from learnae.content.unpack import Content
from learnae.errors import PluginError, UpdateRejectedError
from learnae.node.decoding import Decoder, LazyMasks, LazyTensors
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.plugins.codec import Fp32, Int8
from learnae.records import AnnouncementKind, Decoded, Encoded, TensorSpec
from learnae.strategies import Codec
from learnae.testing.context import make_context, peer_named

N = "bn.num_batches_tracked"
W, COUNT = TensorSpec(name="w", dtype="float32", shape=(2, 3)), TensorSpec(name=N, dtype="int64", shape=(2,))
FLOATS, INTEGERS = np.arange(6, dtype="<f4").tobytes(), np.array([1, 2], "<i8").tobytes()
SOUND = ((W, Encoded(FLOATS)), (COUNT, Encoded(INTEGERS)))


def content(*entries: tuple[TensorSpec, Encoded]) -> Content:
    packed = pack(entries, peer=peer_named("alice"), kind=AnnouncementKind.UPDATE, number=1, codec="fp32")
    blocks = {block.cid: block.data for block in packed.blocks}
    [meta] = [data for data in blocks.values() if b"tensors" in data]
    data = tuple(cid for cid in blocks if cid.startswith("bafkrei"))
    return Content(decode_meta([meta], Limits(10**6)), data, blocks)


def decoder(*entries: tuple[TensorSpec, Encoded], codec: type[Codec] = Fp32, tmp_path=None) -> Decoder:
    named = ConfiguredStrategy("third", "some-plugin", codec(None, make_context(tmp_path)))
    return Decoder(content(*entries), named, {spec.name: spec for spec in (W, COUNT)})


def test_what_is_sound_passes_and_is_decoded(tmp_path):
    decoding = decoder(*SOUND, tmp_path=tmp_path)
    decoding.check()
    tensors = LazyTensors(decoding, {})
    assert tensors["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensors[N].tolist() == [1, 2]
    assert (list(tensors), len(tensors), list(LazyMasks(tensors))) == (["w", N], 2, [])


SHAPES = {
    "a tensor is missing": (SOUND[0],),
    "one too many": (*SOUND, (TensorSpec(name="x", dtype="float32", shape=(1,)), Encoded(bytes(4)))),
    "another shape": ((attrs.evolve(W, shape=(3, 2)), Encoded(FLOATS)), SOUND[1]),
    "another name": ((attrs.evolve(W, name="v"), Encoded(FLOATS)), SOUND[1]),
    "fewer bytes": ((W, Encoded(FLOATS[:-4])), SOUND[1]),
    "more bytes": ((W, Encoded(FLOATS + bytes(4))), SOUND[1]),
    "no bytes": ((W, Encoded(b"")), SOUND[1]),
    "fewer integers": (SOUND[0], (COUNT, Encoded(INTEGERS[:8]))),
    "no integers": (SOUND[0], (COUNT, Encoded(b""))),
}


@pytest.mark.parametrize("entries", SHAPES.values(), ids=list(SHAPES))
def test_what_does_not_fit_the_own_model_is_refused(entries, tmp_path):
    with pytest.raises(UpdateRejectedError):
        decoder(*entries, tmp_path=tmp_path).check()


@given(
    data=st.binary(max_size=20) | st.binary(min_size=24, max_size=24),
    meta=st.dictionaries(
        st.sampled_from(["exponent", "scale", "raw"]),
        st.one_of(st.integers(-300, 300), st.sampled_from(["float32", "a", ""]), st.floats(-9, 9)),
    ),
    codec=st.sampled_from([Fp32, Int8]),
)
def test_after_check_access_never_raises_whatever_a_stranger_sent(tmp_path_factory, data, meta, codec):
    decoding = decoder((W, Encoded(data, meta)), SOUND[1], codec=codec, tmp_path=tmp_path_factory.getbasetemp())
    try:
        decoding.check()
    except UpdateRejectedError:
        return
    tensors = LazyTensors(decoding, {"w": np.zeros((2, 3), np.float32)})
    assert tensors["w"].shape == (2, 3)
    assert tensors.scaled(0.5)["w"].dtype == np.float32


def test_a_scale_shrinks_the_way_from_the_own_model_and_leaves_integers_alone(tmp_path):
    tensors = LazyTensors(decoder(*SOUND, tmp_path=tmp_path), {"w": np.full((2, 3), 2.0, np.float32)}).scaled(0.5).scaled(0.5)
    assert tensors["w"].tolist() == [[1.5, 1.75, 2.0], [2.25, 2.5, 2.75]]
    assert tensors[N].tolist() == [1, 2]


# -- codecs of third parties -------------------------------------------------------------------------------------------------------


class Lax(Fp32):
    """Checks nothing, and then breaks."""

    def check(self, encoded, like, base):
        pass


class Crashing(Lax):
    def decode(self, encoded, like, base):
        raise ZeroDivisionError("oops")


class Flat(Lax):
    def decode(self, encoded, like, base):
        return Decoded(np.zeros(6, np.float32))


class Doubles(Lax):
    def decode(self, encoded, like, base):
        return Decoded(np.zeros(like.shape))


class Lists(Lax):
    def decode(self, encoded, like, base):
        return Decoded([[0.0] * 3] * 2)


class WrongMask(Lax):
    def decode(self, encoded, like, base):
        return Decoded(np.zeros(like.shape, np.float32), np.ones(6, np.bool_))


@pytest.mark.parametrize("codec", [Lax, Crashing, Flat, Doubles, Lists, WrongMask])
def test_a_codec_that_lets_pass_what_it_cannot_decode_is_named(codec, tmp_path):
    decoding = decoder((W, Encoded(b"short")), SOUND[1], codec=codec, tmp_path=tmp_path)
    decoding.check()
    with pytest.raises(PluginError, match="some-plugin"):
        LazyTensors(decoding, {})["w"]


class Half(Lax):
    """Sends the first row only."""

    def decode(self, encoded, like, base):
        mask = np.zeros(like.shape, np.bool_)
        mask[0] = True
        return Decoded(np.full(like.shape, 4.0, np.float32), mask)


def test_masks_say_what_came_and_only_for_tensors_that_came_in_part(tmp_path):
    masks = LazyMasks(LazyTensors(decoder(*SOUND, codec=Half, tmp_path=tmp_path), {}))
    assert list(masks) == ["w"]
    assert (len(masks), masks.get(N), "x" in masks) == (1, None, False)
    assert masks["w"].tolist() == [[True] * 3, [False] * 3]
    with pytest.raises(KeyError):
        masks[N]


# -- what is no parameter ----------------------------------------------------------------------------------------------------------


class Same:
    """A fetched update all of whose values are one."""

    def __init__(self, value: float, **specs: TensorSpec) -> None:
        self.value, self.specs = value, specs

    def decode(self, name: str) -> Decoded:
        spec = self.specs[name]
        return Decoded(np.full(spec.shape, self.value, np.float32 if spec.floating else np.int64))


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec(name="x", dtype="int64", shape=(2,), buffer=True),
        TensorSpec(name="x", dtype="bool", shape=(2,)),
        TensorSpec(name="x", dtype="float32", shape=(2,), buffer=True, apart=True),
    ],
)
def test_what_cannot_be_mixed_looks_like_the_own_to_gates_and_merges(spec):
    own = {"x": np.array([1, 0], np.float32 if spec.floating else np.int64)}
    tensors = LazyTensors(Same(7, x=spec), own).scaled(0.5)
    assert tensors["x"].tolist() == [1, 0]
    assert "x" not in LazyMasks(tensors)


def test_no_scale_takes_a_buffer_further_than_it_came():
    specs = {"w": TensorSpec(name="w", dtype="float32", shape=(1,)), "b": TensorSpec(name="b", dtype="float32", shape=(1,), buffer=True)}
    own = {name: np.array([2.0], np.float32) for name in specs}
    tensors = LazyTensors(Same(1.0, **specs), own)
    assert [tensors.scaled(3.0)[name].tolist() for name in specs] == [[-1.0], [1.0]]
    assert [tensors.scaled(0.5)[name].tolist() for name in specs] == [[1.5], [1.5]]
