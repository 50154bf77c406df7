"""Whether two models have the same architecture, in 8 bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from learnae.content import dagcbor
from learnae.records import TensorSpec

SIGNATURE_BYTES = 8


def model_signature(specs: Iterable[TensorSpec], frozen: bytes = b"") -> bytes:
    """8 bytes over names and shapes in any order, and the digest of what is not shared. Dtypes do not matter: peers may differ in them."""
    shapes = sorted([spec.name, list(spec.shape)] for spec in specs)
    digest = hashlib.sha256(b"learnae/model/1" + dagcbor.encode([frozen.hex(), shapes]))
    return digest.digest()[:SIGNATURE_BYTES]


def first_difference(own: Iterable[TensorSpec], theirs: Iterable[TensorSpec]) -> str | None:
    """A sentence that names the first difference of two architectures, in the order of the own tensors; None if there is none."""
    here, there = ({spec.name: spec.shape for spec in specs} for specs in (own, theirs))
    for name in (*here, *there):
        if name not in there:
            return f"{name} is {_size(here[name])} here and missing there"
        if name not in here:
            return f"{name} is {_size(there[name])} there and missing here"
        if here[name] != there[name]:
            return f"{name} is {_size(here[name])} here, {_size(there[name])} there"
    return None


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"
