"""The codec kit catches codecs that are wrong on purpose, each by the test that is named."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from learnae import Codec, Decoded, Encoded, NoOptions, UpdateRejectedError
from learnae.plugins.codec import Fp32
from learnae.readers import ArrayReader
from learnae.testing.codec_kit import CodecConformance
from learnae.testing.kit import standard_tests


class LosesTheLastValue(Fp32):
    def decode(self, encoded, like, base):
        array = super().decode(encoded, like, base).array.copy()
        array.reshape(-1)[-1:] = 0
        return Decoded(array)


class HalfPrecision(Fp32):
    """Says that it is lossless."""

    def encode(self, name, tensor, base, rng):
        with np.errstate(over="ignore", under="ignore"):
            return super().encode(name, tensor.astype(np.float16).astype(np.float32), base, rng)


class Flattens(Fp32):
    def decode(self, encoded, like, base):
        return Decoded(super().decode(encoded, like, base).array.reshape(-1))


class Widens(Fp32):
    def decode(self, encoded, like, base):
        return Decoded(super().decode(encoded, like, base).array.astype(np.float64))


class EncodesTheFirstPieceOnly(Fp32):
    def encode(self, name, tensor, base, rng):
        cut = np.array(tensor)
        cut.reshape(-1)[1 << 16 :] = 0
        return super().encode(name, cut, base, rng)


class Random(Fp32):
    def encode(self, name, tensor, base, rng):
        return attrs.evolve(super().encode(name, tensor, base, rng), meta={"nonce": float(np.random.default_rng().random())})


class Counts(Fp32):
    count = 0

    def encode(self, name, tensor, base, rng):
        self.count += 1
        return attrs.evolve(super().encode(name, tensor, base, rng), meta={"count": self.count})


class WorksInPlace(Fp32):
    def encode(self, name, tensor, base, rng):
        tensor *= 1
        return super().encode(name, tensor, base, rng)


class ReturnsAnArray(Fp32):
    def encode(self, name, tensor, base, rng):
        return Encoded(np.array(tensor).reshape(-1).data)


class PutsBytesIntoMeta(Fp32):
    def encode(self, name, tensor, base, rng):
        return attrs.evolve(super().encode(name, tensor, base, rng), meta={"scale": b"\0"})


class PutsNanIntoMeta(Fp32):
    def encode(self, name, tensor, base, rng):
        return attrs.evolve(super().encode(name, tensor, base, rng), meta={"largest": float("nan")})


class HidesNan(Fp32):
    def encode(self, name, tensor, base, rng):
        return super().encode(name, np.nan_to_num(tensor), base, rng)


class FillsUpWithZeros(Fp32):
    def decode(self, encoded, like, base):
        size = 4 * like.count
        return super().decode(Encoded(encoded.data[:size].ljust(size, b"\0")), like, base)


class TrustsTheShape(Codec):
    """Checks nothing: numpy's own complaints are no UpdateRejectedError."""

    def encode(self, name, tensor, base, rng):
        return Encoded(tensor.astype("<f4").tobytes())

    def decode(self, encoded, like, base):
        return Decoded(np.frombuffer(encoded.data, "<f4").reshape(like.shape))


class BelievesLengths(Fp32):
    """Makes room for as many values as the sender says."""

    def encode(self, name, tensor, base, rng):
        return attrs.evolve(super().encode(name, tensor, base, rng), meta={"count": tensor.size})

    def decode(self, encoded, like, base):
        count = encoded.meta["count"]
        if type(count) is not int or not 0 <= count <= 1 << 33:
            raise UpdateRejectedError("codec", "count")
        room = np.empty(count, np.float32)
        if count != like.count:
            raise UpdateRejectedError("codec", "count")
        room[:] = super().decode(encoded, like, base).array.reshape(-1)
        return Decoded(room.reshape(like.shape))


class BelievesBytes(Fp32):
    """Raises where a byte says that there is more to come."""

    def encode(self, name, tensor, base, rng):
        return Encoded(b"\0" + super().encode(name, tensor, base, rng).data)

    def decode(self, encoded, like, base):
        if encoded.data[:1] != b"\0":
            raise IndexError("not a known format")
        return super().decode(Encoded(encoded.data[1:]), like, base)


class ChecksTooLittle(Fp32):
    def check(self, encoded, like, base):
        pass


class ChecksTooMuch(Fp32):
    def check(self, encoded, like, base):
        if encoded.meta:
            raise UpdateRejectedError("codec", "what is this?")


class NeedsItsMeta(Fp32):
    def encode(self, name, tensor, base, rng):
        return attrs.evolve(super().encode(name, tensor, base, rng), meta={"size": tensor.size})

    def decode(self, encoded, like, base):
        if encoded.meta["size"] != like.count:
            raise UpdateRejectedError("codec", "size")
        return super().decode(encoded, like, base)


class ForgetsItsBase(Fp32):
    """Encodes a difference, and takes it for the tensor."""

    versions = 2

    def encode(self, name, tensor, base, rng):
        return super().encode(name, tensor if base is None else tensor - base, None, rng)


class ReadsSomethingElse(Fp32):
    """In pieces other values come than when a tensor is decoded as a whole."""

    def reader(self, data, meta, like):
        return ArrayReader(np.zeros(like.shape, np.float32))


WITHIN = "test_a_tensor_comes_back_within_the_declared_error"
LARGE = "test_a_large_tensor_comes_back_to_its_last_value"
META = "test_data_is_bytes_and_meta_numbers_and_text"
CAUGHT = [
    (LosesTheLastValue, WITHIN, {}),
    (HalfPrecision, WITHIN, {}),
    (Flattens, WITHIN, {}),
    (Widens, WITHIN, {}),
    (EncodesTheFirstPieceOnly, LARGE, {"count": (1 << 16) + 1}),
    (LosesTheLastValue, LARGE, {"count": (1 << 16) - 1}),
    (ReadsSomethingElse, "test_a_reader_gives_what_decoding_gives", {"count": 64}),
    (Random, "test_the_same_tensor_gives_the_same_bytes", {}),
    (Counts, "test_the_same_tensor_gives_the_same_bytes", {}),
    (WorksInPlace, "test_the_tensor_is_left_alone", {}),
    (ReturnsAnArray, META, {}),
    (PutsBytesIntoMeta, META, {}),
    (PutsNanIntoMeta, META, {}),
    (HidesNan, "test_a_value_that_is_not_finite_does_not_come_back_finite", {"value": float("inf")}),
    (FillsUpWithZeros, "test_bytes_that_are_too_few_or_too_many_are_rejected", {"shape": (13, 11)}),
    (TrustsTheShape, "test_bytes_that_are_too_few_or_too_many_are_rejected", {"shape": ()}),
    (FillsUpWithZeros, "test_another_number_of_values_is_rejected", {"shape": (13, 12)}),
    (TrustsTheShape, "test_hostile_bytes_are_rejected_or_give_a_tensor_of_that_shape", {}),
    (BelievesBytes, "test_hostile_bytes_are_rejected_or_give_a_tensor_of_that_shape", {}),
    (BelievesLengths, "test_hostile_meta_is_rejected_or_gives_a_tensor_of_that_shape", {"value": 2**31}),
    (ChecksTooLittle, "test_hostile_bytes_are_rejected_or_give_a_tensor_of_that_shape", {}),
    (ChecksTooMuch, "test_hostile_meta_is_rejected_or_gives_a_tensor_of_that_shape", {"value": 1}),
    (ForgetsItsBase, "test_a_tensor_comes_back_beside_a_base_within_the_declared_error", {}),
    (NeedsItsMeta, "test_missing_meta_is_rejected_or_gives_a_tensor_of_that_shape", {}),
]


class Lossless(CodecConformance):
    lossless = True


@pytest.mark.parametrize(("kind", "name", "arguments"), CAUGHT, ids=[f"{kind.__name__}-{name}" for kind, name, _ in CAUGHT])
def test_a_wrong_codec_is_caught_by_the_test_that_is_made_for_it(kind, name, arguments):
    test = standard_tests(Lossless)[name]
    with pytest.raises((AssertionError, ValueError, LookupError, pytest.fail.Exception)):
        test(Lossless(), kind(NoOptions(), None), **arguments)


def test_each_test_of_the_kit_catches_something():
    assert {name for _, name, _ in CAUGHT} == set(standard_tests(CodecConformance))


@pytest.mark.parametrize(("name", "arguments"), [case[1:] for case in CAUGHT])
def test_a_correct_codec_passes(name, arguments):
    standard_tests(Lossless)[name](Lossless(), Fp32(NoOptions(), None), **arguments)


def test_a_lossy_codec_must_declare_its_error():
    with pytest.raises(NotImplementedError, match="`lossless = True` or a method `error_bound`"):
        CodecConformance().test_a_large_tensor_comes_back_to_its_last_value(Fp32(NoOptions(), None), 3)
