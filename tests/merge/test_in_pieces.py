"""A round in pieces comes to the same bits as one with whole tensors, and remembers what it has measured."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae import ElementwiseMerge, NoOptions
from learnae.content.pack import pack
from learnae.content.unpack import Content
from learnae.elementwise import PIECE
from learnae.errors import PluginError
from learnae.node.decoding import Decoder, LazyMasks, LazyTensors
from learnae.node.merging import Merger
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.plugins.codec import Int8
from learnae.plugins.gate import distance, length
from learnae.plugins.merge import Average, AverageOptions
from learnae.plugins.outer import QuasiGlobal, QuasiGlobalOptions
from learnae.readers import ArrayReader, ModelInMemory, ShrunkReader, TensorReader, overrides
from learnae.records import AnnouncementKind, Decoded, LocalModel, TensorSpec
from learnae.strategies import Outer
from learnae.testing.context import peer_named
from learnae.testing.models import received

COUNT = 9 * PIECE + 77  # more than one block of 512 KiB
SPECS = {"w": TensorSpec(name="w", dtype="float32", shape=(COUNT,)), "v": TensorSpec(name="v", dtype="float32", shape=(40, 50))}


class WholeInt8(Int8):
    """As a codec of a third party: it decodes whole tensors."""

    def decode(self, encoded, like, base):
        return Decoded(np.array(super().decode(encoded, like, base).array))


class Stacking(Average):
    """Its author has written `combine` alone."""

    def combine(self, stacked, weights):
        return super().combine(stacked, weights)


class Slow(Outer):
    """Takes arrays."""

    def step(self, local, merged, masks, state):
        return QuasiGlobal(QuasiGlobalOptions(), None).step(local, ((name, np.array(tensor)) for name, tensor in merged), masks, state)


def models(count):
    rng = np.random.default_rng(1)
    return [{name: rng.standard_normal(spec.shape).astype(np.float32) for name, spec in SPECS.items()} for _ in range(count)]


def decoder(model, codec):
    strategy = codec(None, None)
    packed = pack(
        ((spec, strategy.encode(name, model[name], None, None)) for name, spec in SPECS.items()),
        peer=peer_named("alice"),
        kind=AnnouncementKind.UPDATE,
        number=1,
        codec="int8",
    )
    content = Content(packed.meta, packed.data_cids, {block.cid: block.data for block in packed.blocks})
    made = Decoder(content, ConfiguredStrategy("int8", "learnae", strategy), SPECS)
    made.check()
    return made


def merged(codec, merge, outer, scale=1.0):
    start, current, one, other = models(4)
    items = []
    for theirs in (one, other):
        tensors = LazyTensors(decoder(theirs, codec), current, scale)
        items.append(attrs.evolve(received({}), tensors=tensors, masks=LazyMasks(tensors)))
    page = {name: np.empty_like(tensor) for name, tensor in current.items()}
    strategies = [None if each is None else ConfiguredStrategy("x", "p", each) for each in (merge, outer)]
    state = Merger(*strategies, SPECS).run(LocalModel(start=start, current=current), items, page, {"outer": {"w": one["w"]}})
    return page, state.get("outer")


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("stepped", [False, True])
def test_a_merge_in_pieces_is_that_of_whole_tensors_to_the_last_bit(scale, stepped):
    average = Average(AverageOptions(), None)
    quick = merged(Int8, average, QuasiGlobal(QuasiGlobalOptions(), None) if stepped else None, scale)
    plain = merged(WholeInt8, Stacking(AverageOptions(), None), Slow(None, None) if stepped else None, scale)
    for name in SPECS:
        np.testing.assert_array_equal(quick[0][name], plain[0][name])
        if stepped:
            np.testing.assert_array_equal(quick[1][name], plain[1][name])


def test_a_combine_that_raises_in_a_piece_is_the_merges_fault():
    class Broken(ElementwiseMerge):
        def combine(self, stacked, weights):
            raise ZeroDivisionError

    with pytest.raises(PluginError, match="merging"):
        merged(Int8, Broken(NoOptions(), None), QuasiGlobal(QuasiGlobalOptions(), None))


def test_a_distance_by_pieces_is_that_of_arrays_and_is_remembered():
    own, other = models(2)
    made = decoder(other, Int8)
    tensors = LazyTensors(made, own)
    plain = {name: made.decode(name).array for name in SPECS}
    assert distance(own, tensors) == distance(own, plain)
    assert tensors.measured(own) == distance(own, plain)
    assert distance(own, tensors.scaled(0.5)) == pytest.approx(distance(own, plain) / 2, rel=1e-5)


def test_a_length_is_remembered_by_the_model_that_has_it_alone():
    model = ModelInMemory({"w": np.array([3.0, 4.0], np.float32)})
    assert (length(model), model.measured(None)) == (5.0, 5.0)
    assert ModelInMemory({"w": np.zeros(2, np.float32)}).measured(None) is None


class InPieces(TensorReader):
    """Has nothing but what it must."""

    def __init__(self, values):
        self._values, self.shape, self.size = values, values.shape, values.size

    def read(self, piece, room):
        room[:] = self._values[piece]
        return room


@given(start=st.integers(0, PIECE + 9), step=st.integers(1, 2 * PIECE))
def test_every_so_many_values_are_those_of_the_whole(start, step):
    values = np.arange(2 * PIECE + 5, dtype=np.float32)
    np.testing.assert_array_equal(InPieces(values).every(start, step), values[start::step])
    own = np.ones(values.size, np.float32)
    shrunk = ShrunkReader(ArrayReader(values), own, 0.5)
    np.testing.assert_array_equal(shrunk.every(start, step), shrunk.whole()[start::step])


def test_a_class_that_has_its_own_plain_form_alone_has_no_quick_one():
    assert overrides(Average, "combine_into", "combine")
    assert not overrides(Stacking, "combine_into", "combine")
    assert not overrides(ElementwiseMerge, "combine_into", "combine")
