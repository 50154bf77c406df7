"""A fetched update as the strategies see it. A tensor is decoded when it is read, one at a time, and scaled as the gates decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from learnae.content.unpack import Content
from learnae.errors import PluginError, UpdateRejectedError
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.node.tensors import SMALL, check_raw, decode_raw, is_mixed, is_raw
from learnae.readers import ArrayReader, ReadableModel, ShrunkReader, TensorReader, overrides
from learnae.records import Decoded, Encoded, TensorSpec
from learnae.strategies import Codec

if TYPE_CHECKING:
    from learnae.records import Array


@attrs.frozen
class Decoder:
    """Reads the tensors of one fetched update by the codec that it names. `before` reads the one that it is encoded beside."""

    content: Content
    codec: ConfiguredStrategy[Codec]
    specs: Mapping[str, TensorSpec]
    before: Decoder | None = attrs.field(default=None, repr=False)
    _readers: dict[str, TensorReader] = attrs.field(factory=dict, init=False, eq=False, repr=False)
    sound: set[str] = attrs.field(factory=set, init=False, eq=False)
    """Tensors of which `check` could tell without decoding them that all that came is finite."""

    def check(self) -> None:
        """Check all tensors now, so that reading them later never raises. Raises UpdateRejectedError."""
        self.content.check()
        shapes = {spec.name: spec.shape for spec in self.content.meta.specs}
        if shapes != {name: spec.shape for name, spec in self.specs.items()}:
            raise UpdateRejectedError("architecture", "the meta lists other tensors than the announced architecture stands for")
        for spec in self.specs.values():
            if (reader := self.reader(spec.name)) is None:
                self._check(spec, self.content.encoded(spec.name))
            elif reader.sound:
                self.sound.add(spec.name)

    def _check(self, spec: TensorSpec, encoded: Encoded) -> None:
        if is_raw(spec, encoded):
            finite = check_raw(spec, encoded)
        else:
            base = (
                None if self.before is None else np.broadcast_to(np.float32(0), spec.shape)
            )  # else a chain would be decoded for each link
            with self.codec.calling(f"checking what codec {self.codec.name!r} shall decode"):
                self.codec.strategy.check(encoded, spec, base)
                finite = bool(self.codec.strategy.finite(encoded)) and (base is None or self._is_sound_before(spec.name))
        if finite:
            self.sound.add(spec.name)

    def reader(self, name: str) -> TensorReader | None:
        """One tensor in pieces; None where it must be decoded as a whole. Raises UpdateRejectedError, not after `check`."""
        if name not in self._readers and self.before is None and self.specs[name].floating:
            reader = self._make_reader(self.specs[name])
            if isinstance(reader, ArrayReader) and reader.size > SMALL:
                return reader  # the sender says what travels raw: a copy of all that would stay as long as this update is judged
            if reader is not None:
                self._readers[name] = reader
        return self._readers.get(name)

    def _make_reader(self, spec: TensorSpec) -> TensorReader | None:
        data, entry = self.content.slices(spec.name)
        if is_raw(spec, entry):
            encoded = self.content.encoded(spec.name)
            finite, reader = check_raw(spec, encoded), ArrayReader(decode_raw(spec, encoded))
            reader.sound = finite
            return reader
        if not overrides(type(self.codec.strategy), "reader", "decode"):
            return None
        with self.codec.calling(f"checking what codec {self.codec.name!r} shall decode"):
            return self.codec.strategy.reader(data, entry.meta, spec)

    def base(self, name: str) -> Array | None:
        """What this tensor is encoded beside, read-only. None in an update without a base."""
        return None if self.before is None else self.before.decoded(name)

    def decoded(self, name: str) -> Array:
        """One tensor as what is encoded beside it gets it: read-only."""
        array = self.decode(name).array.view()
        array.flags.writeable = False
        return array

    def _is_sound_before(self, name: str) -> bool:
        return self.before is None or name in self.before.sound

    def decode(self, name: str) -> Decoded:
        """Decode one tensor. Raises PluginError if the codec cannot decode what its `check` let pass."""
        spec, encoded = self.specs[name], self.content.encoded(name)
        if is_raw(spec, encoded):
            return Decoded(decode_raw(spec, encoded))
        action, base = f"decoding {name!r} by codec {self.codec.name!r}", self.base(name)
        try:
            with self.codec.calling(action):
                decoded = self.codec.strategy.decode(encoded, spec, base)
                _check_decoded(decoded, spec)
        except UpdateRejectedError as rejected:
            raise PluginError(self.codec.plugin, action, f"its check() had let that pass: {rejected}") from rejected
        return decoded


def _check_decoded(decoded: Any, spec: TensorSpec) -> None:
    array, mask = decoded.array, decoded.mask
    if array.shape != spec.shape or array.dtype != np.float32:
        raise ValueError(f"a float32 array of shape {spec.shape} was wanted, not {array.dtype} {array.shape}")
    if mask is not None and (mask.shape != spec.shape or mask.dtype != np.bool_):
        raise ValueError(f"a mask of shape {spec.shape} was wanted, not {mask.dtype} {mask.shape}")


class LazyTensors(ReadableModel):
    """Decodes a tensor when it is read, and keeps only the last one. `scale` shrinks the displacement from `current`.

    A tensor that is never mixed (`is_mixed`) has the own value here, so that neither gates nor merges decide about it. A scale above 1
    does not apply to buffers.
    """

    def __init__(self, decoder: Decoder, current: Mapping[str, Array], scale: float = 1.0) -> None:
        super().__init__()
        self.decoder, self.current, self.scale = decoder, current, scale
        self._last: tuple[str, Decoded] | None = None

    def __getitem__(self, name: str) -> Array:
        return self._decoded(name).array

    def __iter__(self) -> Iterator[str]:
        return iter(self.decoder.specs)

    def __len__(self) -> int:
        return len(self.decoder.specs)

    def scaled(self, scale: float) -> LazyTensors:
        return LazyTensors(self.decoder, self.current, self.scale * scale)

    def reader(self, name: str) -> TensorReader:
        if (reader := self._in_pieces(name)) is None:
            return ArrayReader(self[name])
        scale = self._scale(self.decoder.specs[name])
        return reader if scale == 1.0 else ShrunkReader(reader, self.current[name], scale)

    def came_whole(self, name: str) -> bool:
        """Whether it has no mask, for sure, and can be had in pieces."""
        return self._in_pieces(name) is not None

    def _in_pieces(self, name: str) -> TensorReader | None:
        return self.decoder.reader(name) if self._mixed(name) else None

    def _decoded(self, name: str) -> Decoded:
        if self._last is None or self._last[0] != name:
            self._last = (name, self._shrink(name, self.decoder.decode(name)) if self._mixed(name) else Decoded(self.current[name]))
        return self._last[1]

    def _mixed(self, name: str) -> bool:
        return is_mixed(self.decoder.specs[name])

    def _shrink(self, name: str, decoded: Decoded) -> Decoded:
        spec = self.decoder.specs[name]
        scale = self._scale(spec)
        if scale == 1.0 or not spec.floating:
            return decoded
        own = self.current[name]
        with np.errstate(invalid="ignore", over="ignore"):  # a mask may hide anything
            return Decoded(own + np.float32(scale) * (decoded.array - own), decoded.mask)

    def _scale(self, spec: TensorSpec) -> float:
        return min(self.scale, 1.0) if spec.buffer else self.scale


class LazyMasks(Mapping[str, Any]):
    """The masks that belong to LazyTensors: only names whose tensor came in part."""

    def __init__(self, tensors: LazyTensors) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> Any:
        if (mask := self._mask(name)) is None:
            raise KeyError(name)
        return mask

    def get(self, name: str, default: Any = None) -> Any:
        mask = self._mask(name)
        return default if mask is None else mask

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._tensors if name in self)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors.decoder.specs and self._mask(str(name)) is not None

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _mask(self, name: str) -> Any:
        return None if self._tensors.came_whole(name) else self._tensors._decoded(name).mask
