"""What every codec must do, as tests to inherit.

class TestHalf(CodecConformance):
    @pytest.fixture
    def codec(self, learnae_context):
        return Half(NoOptions(), learnae_context)

    def error_bound(self, tensor):
        return np.abs(tensor) / 2048
"""

from __future__ import annotations

import math
import tracemalloc
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from learnae.elementwise import PIECE
from learnae.errors import UpdateRejectedError
from learnae.records import Decoded, Encoded, TensorSpec
from learnae.strategies import Codec
from learnae.testing.kit import Kit, inherited

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array


HOSTILE: tuple[Any, ...] = (
    -1,
    0,
    1,
    2**31,
    2**40,
    2**63,
    -(2**63),
    10**400,
    -1.5,
    1e308,
    math.nan,
    math.inf,
    True,
    None,
    "",
    "x",
    "9" * 99,
    b"",
    [],
    {},
)
ALLOWANCE_BYTES = 1 << 20

shapes = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)
tensors = arrays.arrays(np.float32, shapes, elements=st.floats(allow_nan=False, allow_infinity=False, width=32))


class CodecConformance(Kit):
    """Subclass it, and give the fixture `codec`, and either `lossless = True` or the method `error_bound`.

    A codec with bases (`versions` above 1) that is not lossless gives `error_bound_beside` too.
    """

    lossless: ClassVar[bool] = False

    @pytest.fixture
    def codec(self) -> Codec:
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `codec` that returns the codec under test")

    def error_bound(self, tensor: Array) -> Array | NDArray[np.float64]:
        """The largest absolute error of each value of this tensor."""
        if self.lossless:
            return np.zeros_like(tensor)
        raise NotImplementedError(f"{type(self).__name__} needs `lossless = True` or a method `error_bound`")

    def error_bound_beside(self, tensor: Array, base: Array) -> Array | NDArray[np.float64]:
        """The largest absolute error of each value of this tensor where it is encoded beside a base. Infinite: it may be any."""
        if self.lossless:
            return np.zeros_like(tensor)
        raise NotImplementedError(f"{type(self).__name__} needs `lossless = True` or a method `error_bound_beside`")

    @inherited
    @given(tensor=tensors, data=st.data())
    def test_a_tensor_comes_back_beside_a_base_within_the_declared_error(self, codec: Codec, tensor: Array, data: st.DataObject) -> None:
        if codec.versions > 1:
            base = data.draw(arrays.arrays(np.float32, tensor.shape, elements=st.floats(-1e6, 1e6, width=32)))
            decoded = _decode(codec, _encode(codec, tensor, base), tensor.shape, base)
            self._assert_within(tensor, decoded, self.error_bound_beside(tensor, base))
            if decoded.mask is not None:
                np.testing.assert_array_equal(decoded.array[~decoded.mask], base[~decoded.mask], err_msg="what did not come is the base's")

    @inherited
    @given(tensor=tensors)
    def test_a_tensor_comes_back_within_the_declared_error(self, codec: Codec, tensor: Array) -> None:
        self._assert_within(tensor, _decode(codec, _encode(codec, tensor), tensor.shape))

    @pytest.mark.parametrize("count", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 65])
    def test_a_large_tensor_comes_back_to_its_last_value(self, codec: Codec, count: int) -> None:
        tensor = np.random.default_rng(0).standard_normal(count).astype(np.float32)
        self._assert_within(tensor, _decode(codec, _encode(codec, tensor), tensor.shape))
        if codec.versions > 1:
            base = np.roll(tensor, 1)
            self._assert_within(
                tensor, _decode(codec, _encode(codec, tensor, base), tensor.shape, base), self.error_bound_beside(tensor, base)
            )

    @pytest.mark.parametrize("count", [0, 1, 63, 64, PIECE, 2 * PIECE + 65])
    def test_a_reader_gives_what_decoding_gives(self, codec: Codec, count: int) -> None:
        tensor = np.random.default_rng(count).standard_normal(count).astype(np.float32)
        encoded = _encode(codec, tensor)
        like = TensorSpec(name="w", dtype="float32", shape=(count,))
        if (reader := codec.reader(encoded.data, encoded.meta, like)) is None:
            return  # it decodes tensors as a whole
        whole = _decode(codec, encoded, like.shape).array
        np.testing.assert_array_equal(reader.whole(), whole)
        np.testing.assert_array_equal(reader.every(3, 7), whole[3::7])
        assert not reader.sound or np.isfinite(whole).all()

    @inherited
    @given(tensor=tensors)
    def test_the_same_tensor_gives_the_same_bytes(self, codec: Codec, tensor: Array) -> None:
        for base in _bases(codec, tensor):
            first = _encode(codec, tensor, base)
            _encode(codec, np.ones(5, np.float32))
            assert _encode(codec, tensor, base) == first

    def test_the_tensor_is_left_alone(self, codec: Codec) -> None:
        for base in _bases(codec, _example()):
            tensor = _example()
            _decode(codec, _encode(codec, tensor, base), tensor.shape, base)
            np.testing.assert_array_equal(tensor, _example())

    def test_data_is_bytes_and_meta_numbers_and_text(self, codec: Codec) -> None:
        for base in _bases(codec, _example()):
            self._assert_writable(_encode(codec, _example(), base))

    def _assert_writable(self, encoded: Encoded) -> None:
        assert type(encoded.data) is bytes
        for name, value in encoded.meta.items():
            assert type(name) is str
            assert name != "raw", "meta 'raw' is Learnae's own: it says of a tensor that no codec has touched it"
            assert type(value) in (int, float, str), f"meta {name!r} is a {type(value).__name__}: dag-cbor gets numbers and text only"
            assert not isinstance(value, float) or math.isfinite(value), f"meta {name!r} is {value}, which dag-cbor refuses"
            assert not isinstance(value, int) or abs(value) < 2**63

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_a_value_that_is_not_finite_does_not_come_back_finite(self, codec: Codec, value: float) -> None:
        tensor = np.array(_example())
        tensor[7, 3] = value
        for base in _bases(codec, tensor):
            try:
                encoded = _encode(codec, tensor, base)
            except ValueError:
                continue  # to refuse is as good: nothing false is published
            decoded = _decode(codec, encoded, tensor.shape, base)
            assert not (np.isfinite(decoded.array[7, 3]) and (decoded.mask is None or decoded.mask[7, 3]))

    @pytest.mark.parametrize("shape", [(), (0,), (1,), (13, 11)])
    def test_bytes_that_are_too_few_or_too_many_are_rejected(self, codec: Codec, shape: tuple[int, ...]) -> None:
        tensor = np.ones(shape, np.float32)
        for base in _bases(codec, tensor):
            encoded = _encode(codec, tensor, base)
            for data in (encoded.data[:-1], encoded.data + b"\0", encoded.data * 2, b""):
                if data != encoded.data:
                    with pytest.raises(UpdateRejectedError):
                        _decode(codec, attrs.evolve(encoded, data=data), shape, base)

    @pytest.mark.parametrize("shape", [(), (0,), (13, 10), (13, 12), (1000, 1000)])
    def test_another_number_of_values_is_rejected(self, codec: Codec, shape: tuple[int, ...]) -> None:
        for base in _bases(codec, _example()):
            with pytest.raises(UpdateRejectedError):
                _decode(codec, _encode(codec, _example(), base), shape, None if base is None else np.zeros(shape, np.float32))

    @inherited
    @given(data=st.data())
    def test_hostile_bytes_are_rejected_or_give_a_tensor_of_that_shape(self, codec: Codec, data: st.DataObject) -> None:
        for base in _bases(codec, _example()):
            encoded = _encode(codec, _example(), base)
            size = len(encoded.data)
            mutated = data.draw(st.binary(min_size=size, max_size=size) | st.binary(max_size=2 * size) | _flipped(encoded.data))
            self._assert_harmless(codec, attrs.evolve(encoded, data=mutated), base)

    @pytest.mark.parametrize("value", HOSTILE, ids=lambda value: f"{value!r:.20}")
    def test_hostile_meta_is_rejected_or_gives_a_tensor_of_that_shape(self, codec: Codec, value: Any) -> None:
        for base in _bases(codec, _example()):
            encoded = _encode(codec, _example(), base)
            for name in (*encoded.meta, "unknown"):
                self._assert_harmless(codec, attrs.evolve(encoded, meta={**encoded.meta, name: value}), base)

    def test_missing_meta_is_rejected_or_gives_a_tensor_of_that_shape(self, codec: Codec) -> None:
        for base in _bases(codec, _example()):
            encoded = _encode(codec, _example(), base)
            for missing in encoded.meta:
                meta = {name: encoded.meta[name] for name in encoded.meta if name != missing}
                self._assert_harmless(codec, attrs.evolve(encoded, meta=meta), base)

    def _assert_within(self, tensor: Array, decoded: Decoded, bound: Array | NDArray[np.float64] | None = None) -> None:
        came = np.ones(tensor.shape, bool) if decoded.mask is None else decoded.mask
        error = np.abs(decoded.array.astype(np.float64) - tensor)[came]
        excess = error - np.broadcast_to(self.error_bound(tensor) if bound is None else bound, tensor.shape)[came]
        assert (excess <= 0).all(), f"an error of {error[np.argmax(excess)]:.6g}, {np.max(excess):.3g} more than declared"

    def _assert_harmless(self, codec: Codec, encoded: Encoded, base: Array | None) -> None:
        """Rejected, or a tensor of the right shape (`_decode` checks it), and never much memory."""
        tracemalloc.start()
        try:
            _decode(codec, encoded, _example().shape, base)
        except UpdateRejectedError:
            pass
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < ALLOWANCE_BYTES, f"{peak} bytes allocated for a tensor of {_example().nbytes}"


def _example() -> Array:
    """13 x 11 values between -1 and 1, read-only."""
    tensor = np.sin(np.arange(143, dtype=np.float32)).reshape(13, 11)
    tensor.flags.writeable = False
    return tensor


def _bases(codec: Codec, tensor: Array) -> list[Array | None]:
    """None, and for a codec with bases one that is near the tensor, and read-only."""
    if codec.versions <= 1:
        return [None]
    base = np.asarray(np.nan_to_num(np.array(tensor), posinf=0.0, neginf=0.0) * np.float32(0.75))
    base.flags.writeable = False
    return [None, base]


def _encode(codec: Codec, tensor: Array, base: Array | None = None) -> Encoded:
    return codec.encode("layer.weight", tensor, base, np.random.default_rng(0))


def _decode(codec: Codec, encoded: Encoded, shape: tuple[int, ...], base: Array | None = None) -> Decoded:
    """The tensor; `check` must refuse just what `decode` refuses, since after it nothing may be refused any more."""
    like = TensorSpec(name="layer.weight", dtype="float32", shape=shape)
    try:
        codec.check(encoded, like, None if base is None else np.broadcast_to(np.float32(0), shape))
    except UpdateRejectedError:
        with pytest.raises(UpdateRejectedError):
            codec.decode(encoded, like, base)
        raise
    try:
        decoded = codec.decode(encoded, like, base)
    except UpdateRejectedError as error:
        raise AssertionError(f"`decode` refuses what `check` let pass: {error}") from error
    assert (decoded.array.shape, decoded.array.dtype) == (shape, np.dtype(np.float32))
    assert decoded.mask is None or (decoded.mask.shape, decoded.mask.dtype) == (shape, np.dtype(np.bool_))
    return decoded


@st.composite
def _flipped(draw: st.DrawFn, data: bytes) -> bytes:
    """These bytes with a few of them changed."""
    changed = bytearray(data)
    for index in draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=8)):
        changed[index] = draw(st.integers(0, 255))
    return bytes(changed)
