"""What codecs are given: bytes and notes that claim to be a tensor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from learnae.errors import UpdateRejectedError
from learnae.plugins.codec import Fp32, Int8
from learnae.records import Decoded, Encoded, TensorSpec
from learnae.strategies import Codec
from learnae.testing.context import make_context
from tests.support.hostile.targets import Target

SPECS = tuple(TensorSpec(name="w", dtype="float32", shape=shape) for shape in ((5, 26), (), (0, 3), (64,)))


def targets() -> Iterator[Target]:
    for name, cls in (("fp32", Fp32), ("int8", Int8)):
        yield target(name, cls(None, make_context(Path())))


def target(name: str, codec: Codec) -> Target:
    """`check` lets pass exactly what `decode` can decode, and that is a tensor of the wanted shape."""

    def decode(data: bytes) -> Decoded:
        encoded, spec = _split(data)
        try:
            codec.check(encoded, spec, None)
        except UpdateRejectedError:
            _is_refused_too(codec, encoded, spec)
            raise
        try:
            return codec.decode(encoded, spec, None)
        except UpdateRejectedError as error:
            raise AssertionError("check() let that pass") from error

    def is_a_tensor(data: bytes, decoded: Decoded) -> None:
        assert decoded.array.shape == _split(data)[1].shape
        assert decoded.array.dtype == np.float32

    seeds = tuple(_joined(index, codec.encode("w", _values(spec), None, np.random.default_rng(0))) for index, spec in enumerate(SPECS))
    return Target(name, decode, (UpdateRejectedError,), seeds, (), is_a_tensor)


def _is_refused_too(codec: Codec, encoded: Encoded, spec: TensorSpec) -> None:
    try:
        codec.decode(encoded, spec, None)
    except UpdateRejectedError:
        return
    raise AssertionError("check() refused what decode() decodes")


def _values(spec: TensorSpec) -> Any:
    return np.linspace(-1.0, 1.0, spec.count, dtype=np.float32).reshape(spec.shape)


def _joined(index: int, encoded: Encoded) -> bytes:
    return bytes([index]) + json.dumps(dict(encoded.meta)).encode() + b"\n" + encoded.data


def _split(data: bytes) -> tuple[Encoded, TensorSpec]:
    """Which tensor, notes as one line of JSON, bytes."""
    head, _, rest = data[1:].partition(b"\n")
    try:
        notes = json.loads(head)
    except (ValueError, RecursionError):
        notes = {}
    spec = SPECS[data[0] % len(SPECS)] if data else SPECS[0]
    return Encoded(rest, notes if isinstance(notes, dict) else {"exponent": notes}), spec
